"""What a study may be asked for."""

import pytest
from optuna.trial import FixedTrial

from data.defects.recipe import Recipe
from data.errors import BadSettings
from models.detector import build_detector, families
from models.networks import NETWORKS
from models.teacher_file import TeacherCard
from models.tune import DEFAULTS, MIXES, TuneSettings, asked, default_of, read_settings, recipe_of, spec_of, suggest


def test_unknown_networks_are_refused_and_all_known_ones_make_a_specification() -> None:
    with pytest.raises(BadSettings, match="'unet9' is not one of unet"):
        read_settings({"tune": {"detectors": ["unet3plus", "unet9"]}}, "tune", TuneSettings)
    for name in NETWORKS:
        spec = spec_of({"detector": name, "learning_rate": 1e-3}, 64)
        assert (spec.detector, spec.settings) == NETWORKS[name] and spec.batch_size * spec.side**2 == 32 * 64**2


def test_the_settings_tried_first_are_what_the_study_may_suggest() -> None:
    assert {default["detector"] for default in DEFAULTS} >= set(TuneSettings().detectors)
    assert {NETWORKS[default["detector"]][0] for default in DEFAULTS} >= set(families()) - {"unet"}
    for default in DEFAULTS:
        assert suggest(FixedTrial(asked(default)), TuneSettings(detectors=(default["detector"],))) == default
        assert set(recipe_of(default, Recipe()).families) <= set(MIXES["all"])


def test_every_network_has_parameters_without_a_search() -> None:
    for name in NETWORKS:
        assert default_of(name)["detector"] == name and spec_of(default_of(name), 64).learning_rate > 0


def test_a_teacher_changes_the_networks_of_the_families_that_take_it() -> None:
    card = TeacherCard(
        name="big", kind="features", settings={"backbone": "resnet18"}, source="imported", origin="o", licence="l",
        digest="0" * 64,
    )  # fmt: skip
    for name, (family, settings) in NETWORKS.items():
        taught = spec_of(default_of(name), 64, card).settings
        takes = families()[family].teacher_kind == "features"
        assert taught == ({**settings, "backbone": "resnet18"} if takes else settings)
        if takes:
            build_detector(family, 1, taught)
