"""Networks that go on from those of an earlier model."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from core.errors import BadModel
from core.files import file_digest
from data.batch import BatchFolder
from models.detectors.catalogue import build_detector
from models.teachers.teacher_file import TeacherCard
from models.train import train
from models.training.trained import NetworkRecord, read_trained
from models.training.warm_start import read_warm_start
from tests.models.trained_batch import a_batch, a_teacher, trained


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> BatchFolder:
    return a_batch(tmp_path_factory.mktemp("pattern") / "batch")


@pytest.fixture(scope="module")
def champion(pattern: BatchFolder, tmp_path_factory: pytest.TempPathFactory) -> BatchFolder:
    return trained(pattern, tmp_path_factory.mktemp("champion") / "batch", [16, 1], companion="patchcore")


def lay(champion: BatchFolder, folder: Path) -> Path:
    """The champion's files in ``folder`` of a batch, as a changeover lays them."""
    warm = folder / "warm"
    warm.mkdir(parents=True)
    for name in ("weights.pt", "training.json"):
        shutil.copyfile(champion.file("model") / name, warm / name)
    digest = file_digest(warm / "weights.pt")
    (warm / "warm.json").write_text(json.dumps({"product": "bolt", "version": "3", "weights_digest": digest}))
    return warm


def outcome(folder: BatchFolder) -> tuple[float, float, dict[str, Any]]:
    """Loss and objective at the end of the first network's training, and the whole record."""
    training = read_trained(folder, 1)[1]
    log = training["networks"][0]
    return log["losses"][-1][2], log["validations"][-1][1], training


def test_a_warm_start_is_ahead_of_a_cold_one_and_gives_the_same_weights_again(
    pattern: BatchFolder, champion: BatchFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cold = trained(pattern, tmp_path / "cold", [5])
    lay(champion, tmp_path / "warm")
    warm = trained(pattern, tmp_path / "warm", [5])
    assert "network 1 (unet3plus, 1/1): 5 of 5 steps" in (said := capsys.readouterr().out)
    assert "started from version 3 of bolt" in said and "from scratch" not in said
    (loss, value, training), (cold_loss, cold_value, before) = outcome(warm), outcome(cold)
    assert loss < 0.9 * cold_loss and value > cold_value
    assert training["warm_start"] == json.loads((tmp_path / "warm" / "warm" / "warm.json").read_text())
    assert training["networks"][0]["warm"] and before["warm_start"] is None and not before["networks"][0]["warm"]

    shutil.rmtree(warm.file("model"))
    moved = BatchFolder(warm.path.rename(tmp_path / "Werk Süd ß 線"))  # where it lies is nothing that its bytes depend on
    train(moved)
    assert outcome(moved)[2]["weights_digest"] == training["weights_digest"] != before["weights_digest"]


@pytest.fixture(scope="module")
def laid(champion: BatchFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay(champion, tmp_path_factory.mktemp("laid"))


def test_only_a_network_of_the_same_make_is_taken(champion: BatchFolder, laid: Path) -> None:
    warm, detectors = read_warm_start(laid), read_trained(champion, 1)[0]
    assert warm is not None and warm.source.title == "version 3 of bolt"
    record = warm.networks[0][0]

    def taken(record: NetworkRecord, member: int = 0, channels: int = 1) -> Any:
        return warm.state_for(record, member, build_detector(record.detector, channels, record.settings), None)

    for member in (0, 1, 5):
        state = taken(record, member)
        assert all(torch.equal(value, state[key]) for key, value in detectors[0].state_dict().items())
    assert taken(NetworkRecord(record.detector, {**record.settings, "width": 4}, 1)) is None
    assert taken(NetworkRecord(record.detector, record.settings, 7)) is None
    assert taken(record, channels=3) is None, "grey is not colour"
    assert taken(warm.networks[1][0]) is None, "a memory is not learned"


def test_a_student_of_another_teacher_is_not_taken(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"backbone": "resnet10t"}
    student, patches = build_detector("stpm", 1, settings), build_detector("uninformed_students", 1, {})
    first, second = a_teacher(tmp_path / "first", 1), a_teacher(tmp_path / "second", 2)
    logs = [{"detector": "stpm", "settings": settings}, {"detector": "uninformed_students", "settings": {}}]
    warm = tmp_path / "warm"
    warm.mkdir()
    torch.save([student.state_dict(), patches.state_dict()], warm / "weights.pt")
    digest = file_digest(warm / "weights.pt")
    (warm / "warm.json").write_text(json.dumps({"product": "bolt", "version": 3, "weights_digest": digest}))

    def taken(detector: torch.nn.Module, number: int, then: TeacherCard | None, now: TeacherCard | None) -> bool:
        card = None if then is None else then.model_dump(mode="json")
        record = {"networks": logs, "reductions": [1, 1], "detector": "", "settings": {}}
        (warm / "training.json").write_text(json.dumps({**record, "teacher": card, "weights_digest": digest}))
        found = read_warm_start(warm)
        assert found is not None
        return found.state_for(found.networks[number][0], 0, detector, now) is not None  # type: ignore[arg-type]

    assert taken(student, 0, first, first) and taken(student, 0, None, None)
    assert not taken(student, 0, first, second) and not taken(student, 0, None, first) and not taken(student, 0, first, None)
    assert taken(patches, 1, first, second), "it takes no teacher of that kind"


def test_without_a_source_there_is_no_warm_start(tmp_path: Path) -> None:
    assert read_warm_start(tmp_path / "nowhere") is None
    (tmp_path / "warm.json").write_text('{"version": null}')
    assert read_warm_start(tmp_path) is None


HARM = {
    "not JSON": ("warm.json", b"{"),
    "no table": ("warm.json", b"[]"),
    "two lines": ("warm.json", b'{"product": "a\\nb", "version": "3", "weights_digest": "%s"}' % (b"0" * 64)),
    "other weights": ("weights.pt", b"half a file"),
    "other training": ("training.json", b'{"weights_digest": "0"}'),
    "no training": ("training.json", b"{"),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_damaged_or_foreign_file_is_refused_in_one_line(harm: str, laid: Path, tmp_path: Path) -> None:
    name, content = HARM[harm]
    shutil.copytree(laid, tmp_path / "warm")
    (tmp_path / "warm" / name).write_bytes(content)
    with pytest.raises(BadModel) as error:
        read_warm_start(tmp_path / "warm")
    assert "\n" not in str(error.value) and "run the changeover again" in str(error.value)


class Runs:
    """What a pickle may call when it is read."""

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return (Path.touch, (Path("ran"),))


def test_weights_that_hold_more_than_tensors_are_not_read(laid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(laid, tmp_path / "warm")
    for content in ([Runs(), Runs()], [{"weight": 1.0}] * 2, [{}], "text"):
        torch.save(content, tmp_path / "warm" / "weights.pt")
        digest = file_digest(tmp_path / "warm" / "weights.pt")
        for name in ("warm.json", "training.json"):
            known = json.loads((laid / name).read_text())
            (tmp_path / "warm" / name).write_text(json.dumps({**known, "weights_digest": digest}))
        with pytest.raises(BadModel, match="does not hold the networks of version 3 of bolt"):
            read_warm_start(tmp_path / "warm")
    assert not (tmp_path / "ran").exists()
