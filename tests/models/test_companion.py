"""A training of two kinds of network, with and without a teacher."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from core.errors import BadModel, BadSettings
from data.batch import BatchFolder
from data.stage import read_settings
from models.detectors.patchcore import PatchCore
from models.detectors.unet3plus import UNet3Plus
from models.settings import ReplayedTraining
from models.teachers.teacher_file import read_teacher
from models.train import planned_networks
from models.training.trained import fused_text, of_kind, read_trained, teacher_text
from models.training.view import View
from tests.models.trained_batch import a_batch, a_teacher, laid_out, trained

CHOSEN = {"detector": "unet3plus", "learning_rate": 5e-3, "schedule": "linear", "mix": "drawn"}


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> BatchFolder:
    return a_batch(tmp_path_factory.mktemp("pattern") / "batch")


@pytest.fixture(scope="module")
def pair(pattern: BatchFolder, tmp_path_factory: pytest.TempPathFactory) -> BatchFolder:
    return trained(pattern, tmp_path_factory.mktemp("pair") / "batch", [3, 1], companion="patchcore")


def test_a_companion_is_trained_beside_the_network_that_was_tuned_and_changes_nothing_of_it(
    pair: BatchFolder, pattern: BatchFolder, tmp_path: Path
) -> None:
    (network, companion), training = read_trained(pair, 1)
    assert isinstance(network, UNet3Plus) and isinstance(companion, PatchCore)
    assert training["detector"] == "unet3plus" and training["reductions"] == [1, 1] and training["teacher"] is None
    assert [log["detector"] for log in training["networks"]] == ["unet3plus", "patchcore"]
    assert [log["steps"] for log in training["networks"]] == [3, 1]
    assert fused_text(training, (0, 1)) == "unet3plus + patchcore" and teacher_text(training) == "random features"

    (alone,), plain = read_trained(trained(pattern, tmp_path / "alone", [3]), 1)
    for mine, theirs in zip(network.state_dict().values(), alone.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)
    assert teacher_text(plain) == "none: no network compares with one"

    kept, of_it = of_kind("segmentation", [network, companion], training)
    assert kept == [network] and of_it["reductions"] == [1] and of_it["networks"] == training["networks"][:1]


def test_a_model_folder_that_says_its_family_once_for_all_is_still_read(pair: BatchFolder, tmp_path: Path) -> None:
    old = BatchFolder(tmp_path)
    old.file("model").mkdir()
    detectors, training = read_trained(pair, 1)
    new = ("detector", "settings", "reduction", "warm")
    logs = [{key: value for key, value in log.items() if key not in new} for log in training["networks"]]
    known = {key: training[key] for key in ("detector", "settings")}
    (old.file("model") / "training.json").write_text(json.dumps({**known, "reductions": [1], "networks": logs[:1]}))
    torch.save([detectors[0].state_dict()], old.file("model") / "weights.pt")
    (again,), record = read_trained(old, 1)
    assert isinstance(again, UNet3Plus) and teacher_text(record) == "none: no network compares with one"
    (old.file("model") / "training.json").write_text(json.dumps({**known, "reductions": [1, 1], "networks": logs}))
    with pytest.raises(BadModel, match=r"model/ in .* is missing or damaged"):
        read_trained(old, 1)


def test_a_companion_compares_with_the_teacher_beside_the_batch(pattern: BatchFolder, pair: BatchFolder, tmp_path: Path) -> None:
    card = a_teacher(tmp_path / "taught" / "teacher", 3)
    folder = trained(pattern, tmp_path / "taught", [1, 1], companion="patchcore")
    (_, companion), training = read_trained(folder, 1)
    assert training["teacher"] == card.model_dump(mode="json")
    assert teacher_text(training) == f"{card.title}; licence: none needed"
    teacher = read_teacher(folder.file("teacher"))
    assert teacher is not None and isinstance(companion, PatchCore)
    own = dict(companion.teacher.network.named_parameters())
    assert own and all(torch.equal(value, teacher.weights[name]) for name, value in own.items())
    other = read_trained(pair, 1)[0][1]
    assert isinstance(other, PatchCore)
    assert not all(map(torch.equal, own.values(), other.teacher.network.parameters()))


@pytest.mark.slow
def test_both_families_are_trained_where_there_is_no_network(pattern: BatchFolder, tmp_path: Path) -> None:
    """In a network namespace without so much as a loopback interface; nothing may even look up a name."""
    alone = ["unshare", "--user", "--map-root-user", "--net"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody make a network namespace")
    reached = "import socket; socket.create_connection(('127.0.0.1', 9), 1)"
    probe = subprocess.run([*alone, sys.executable, "-c", reached], capture_output=True, text=True, check=False)
    assert "Network is unreachable" in probe.stderr
    a_teacher(tmp_path / "batch" / "teacher", 3)
    folder = laid_out(pattern, tmp_path / "batch", [1, 1], companion="patchcore")
    done = subprocess.run(
        [*alone, sys.executable, "-m", "models.train"], cwd=folder.path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [type(detector) for detector in read_trained(folder, 1)[0]] == [UNet3Plus, PatchCore]


def planned(chosen: dict[str, Any], **settings: Any) -> list[tuple[str, int, float]]:
    found = planned_networks(ReplayedTraining(**settings), chosen, View(1, 128))
    return [(network.params["detector"], network.view.reduction, round(network.share, 6)) for network in found]


def test_the_seconds_are_shared_out() -> None:
    assert planned(CHOSEN) == [("unet3plus", 1, 1.0)]
    half = planned(CHOSEN, companion="stpm", companion_share=0.5)
    assert half == [("unet3plus", 1, 0.5), ("stpm", 1, 0.5)]
    # What does not learn step by step leaves its seconds to the others.
    assert planned(CHOSEN, companion="patchcore") == [*planned(CHOSEN), ("patchcore", 1, 0.0)]
    several = planned(CHOSEN, companion="stpm", networks=3)
    assert len(several) == 4 and sum(share for _, _, share in several) == pytest.approx(1.0)


def test_there_is_no_companion_of_the_same_kind() -> None:
    students = {"detector": "stpm", "learning_rate": 2e-3}
    assert planned(students, companion="stpm") == planned(students) == planned(students, companion="patchcore")
    assert planned(students, companion="unet3plus")[-1][0] == "unet3plus"
    assert planned(CHOSEN, companion="unet") == planned(CHOSEN)


def test_a_companion_sees_the_defects_that_suit_the_surface() -> None:
    found = planned_networks(ReplayedTraining(companion="denoising_student"), CHOSEN, View(1, 128))
    assert found[1].params["mix"] == "drawn"
    assert "mix" not in planned_networks(ReplayedTraining(companion="stpm"), CHOSEN, View(1, 128))[1].params


def test_settings_that_cannot_be_had_are_refused() -> None:
    with pytest.raises(BadSettings, match=r"train.companion is 'stpn'.*'stpn' is not one of unet"):
        read_settings({"train": {"companion": "stpn"}}, "train", ReplayedTraining)
    settings = {"companion": "stpm", "replay": [{"steps_planned": 4, "validations_planned": 1, "steps": 4, "threads": 1}]}
    with pytest.raises(BadSettings, match="1 entries for 2 networks"):
        planned_networks(ReplayedTraining.model_validate(settings), CHOSEN, View(1, 128))
