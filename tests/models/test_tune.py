"""What a study may be asked for, and a study that is killed."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from optuna.trial import FixedTrial

from core.errors import BadSettings
from data.batch import BatchFolder
from data.defects.recipe import Recipe
from data.stage import read_settings
from data.yaml_file import write_yaml
from models import tune as tuning
from models.detectors.catalogue import NETWORKS, build_detector, families
from models.settings import TuneSettings
from models.teachers.teacher_file import TeacherCard
from models.training.trial import MIXES, default_of, recipe_of, spec_of
from models.tune import as_suggested, first_trials, suggest
from tests.models.trained_batch import a_batch


def test_unknown_networks_are_refused_and_all_known_ones_make_a_specification() -> None:
    with pytest.raises(BadSettings, match="'unet9' is not one of unet"):
        read_settings({"tune": {"detectors": ["unet3plus", "unet9"]}}, "tune", TuneSettings)
    for name in NETWORKS:
        spec = spec_of({"detector": name, "learning_rate": 1e-3}, 64)
        assert (spec.detector, spec.settings) == (NETWORKS[name].detector.family, NETWORKS[name].settings)
        assert spec.batch_size * spec.side**2 == 32 * 64**2


def test_the_settings_tried_first_are_what_the_study_may_suggest() -> None:
    trials = first_trials(["unet", "patchcore", "stpm", "unet3plus"])
    assert [trial["detector"] for trial in trials] == ["unet", "patchcore", "stpm", "unet3plus", "unet", "unet3plus"]
    for default in first_trials(list(NETWORKS)):
        assert suggest(FixedTrial(as_suggested(default)), TuneSettings(detectors=(default["detector"],))) == default
        assert set(recipe_of(default, Recipe()).families) <= set(MIXES["all"])


def test_every_network_has_parameters_without_a_search() -> None:
    for name in NETWORKS:
        assert default_of(name)["detector"] == name and spec_of(default_of(name), 64).learning_rate > 0


def test_a_schedule_that_no_study_proposes_is_refused() -> None:
    with pytest.raises(BadSettings, match="schedule 'reversed' of the trial is not one of none, linear, root, competence"):
        spec_of({**default_of("unet3plus"), "schedule": "reversed"}, 64)


def test_a_teacher_changes_the_networks_of_the_families_that_take_it() -> None:
    card = TeacherCard(
        name="big", kind="features", settings={"backbone": "resnet18"}, source="imported", origin="o", licence="l",
        digest="0" * 64,
    )  # fmt: skip
    for name, entry in NETWORKS.items():
        family, settings = entry.detector.family, entry.settings
        taught = spec_of(default_of(name), 64, card).settings
        if families()[family].kind == "feature_distance" and families()[family].teacher_kind == "features":
            assert taught == {**settings, "backbone": "resnet18", "spread": 0.88}
        elif str(settings.get("encoder", "")).startswith("tu-"):
            assert taught == {**settings, "encoder": "tu-resnet18", "spread": 0.88, "keep_upper": True}
        else:
            assert taught == settings
            continue
        build_detector(family, 1, taught)


class Killed(BaseException):
    """Nothing in the study cleans up after this, as nothing does after SIGKILL."""


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = a_batch(tmp_path_factory.mktemp("study") / "batch")
    write_yaml(folder.file("params.yaml"), {"seed": 3, "tune": {"trials": 7, "seconds": 1e6}})
    return folder.path


def studied(pattern: Path, path: Path, monkeypatch: pytest.MonkeyPatch, kills: set[str]) -> list[Any]:
    """The choices and values of a study whose trainings take no time, killed once at each of ``kills`` (place and trial)."""
    folder = BatchFolder(shutil.copytree(pattern, path, dirs_exist_ok=True))
    left = set(kills)

    def die(place: str, folder: BatchFolder) -> None:
        journals = "".join(file.read_text() for file in (folder.work / "tune").glob("journal-*.log"))
        done = journals.replace(" ", "").count('"state":1')  # complete
        if (mark := f"{place} {done}") in left:
            left.discard(mark)
            raise Killed(mark)

    def fit(_images: Any, crops: Any, spec: Any, *_: Any, **__: Any) -> Any:
        die("training", folder)
        return SimpleNamespace(rate=spec.learning_rate, name=spec.detector), SimpleNamespace(steps=1)

    def value(detectors: Any, _examined: Any) -> Any:
        die("measuring", folder)
        return SimpleNamespace(value=len(detectors[0].name) / 100 - detectors[0].rate, pixel_ap={}, separation={})

    def chosen(trial: Any, settings: Any) -> Any:
        die("asking", folder)
        return suggest(trial, settings)

    monkeypatch.setattr(tuning, "fit", fit)
    monkeypatch.setattr(tuning, "objective", value)
    monkeypatch.setattr(tuning, "suggest", chosen)
    for _ in range(len(kills) + 1):
        try:
            tuning.tune(folder)
            break
        except Killed:
            continue
    assert not left, "it was not killed there"
    trials = json.loads((folder.file("study") / "trials.json").read_text())
    return [(trial["params"], trial["value"]) for trial in trials]


def test_a_study_that_is_killed_gives_the_same_study(pattern: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = studied(pattern, tmp_path / "whole", monkeypatch, set())
    assert len(whole) == 7 and len({json.dumps(params) for params, _ in whole}) == 7
    first = len(TuneSettings().detectors)
    assert [params for params, _ in whole[:2]] == first_trials(TuneSettings().detectors)
    kills = {"training 0", "asking 1", "measuring 1", f"training {first}", f"asking {first + 1}", f"measuring {first + 1}"}
    assert studied(pattern, tmp_path / "killed", monkeypatch, kills) == whole


def test_where_there_is_time_for_one_trial_nothing_is_tried(
    pattern: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("a network was trained")

    monkeypatch.setattr(tuning, "fit", never)
    folder = BatchFolder(shutil.copytree(pattern, tmp_path, dirs_exist_ok=True))
    for wanted in ({"trials": 1}, {"trials": 7, "seconds": 80.0}):
        write_yaml(folder.file("params.yaml"), {"seed": 3, "tune": wanted})
        tuning.tune(folder)
        best = json.loads((folder.file("study") / "best.json").read_text())
        assert best["params"] == default_of("unet3plus") and best["value"] is None and best["side"] == 128
        assert json.loads((folder.file("study") / "trials.json").read_text()) == []
