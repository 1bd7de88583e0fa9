"""What a study may be asked for."""

import pytest

from data.defects.recipe import Recipe
from data.errors import BadSettings
from models.networks import NETWORKS
from models.tune import DEFAULTS, MIXES, TuneSettings, read_settings, recipe_of, spec_of


def test_unknown_networks_are_refused_and_all_known_ones_make_a_specification() -> None:
    with pytest.raises(BadSettings, match="'unet9' is not one of unet"):
        read_settings({"tune": {"detectors": ["unet3plus", "unet9"]}}, "tune", TuneSettings)
    for name in NETWORKS:
        spec = spec_of({"detector": name, "learning_rate": 1e-3}, 64)
        assert (spec.detector, spec.settings) == NETWORKS[name] and spec.batch_size * spec.side**2 == 32 * 64**2


def test_the_settings_tried_first_are_complete() -> None:
    for default in DEFAULTS:
        assert default["detector"] in TuneSettings().detectors
        assert set(recipe_of(default, Recipe()).families) <= set(MIXES["all"])
