"""Teacher files: what comes from outside is read without running any of it, and fits or is refused."""

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from core.errors import BadModel, BadSettings, ChangeoverError
from models.detectors.catalogue import build_detector
from models.detectors.teaching import teach, with_teacher
from models.teachers.feature_network import feature_network, matched
from models.teachers.teacher_file import (
    CARD,
    WEIGHTS,
    TeacherFile,
    import_features,
    read_teacher,
    read_weights,
    teacher_name,
    write_teacher,
)

CARD_OF = {
    "name": "plant",
    "kind": "features",
    "settings": {"backbone": "resnet10t"},
    "source": "imported",
    "origin": "weights.pth",
    "licence": "Apache-2.0",
}


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


@pytest.fixture(scope="module")
def whole() -> nn.Module:
    torch.manual_seed(3)
    network: nn.Module = timm.create_model("resnet10t", pretrained=False)
    return network


def features_of(network: nn.Module, images: Tensor) -> list[Tensor]:
    """Levels 1 to 3 of a whole ResNet of timm, step by step."""
    x = network.maxpool(network.act1(network.bn1(network.conv1(images))))  # type: ignore[operator]
    found = []
    for layer in (network.layer1, network.layer2, network.layer3):
        x = layer(x)  # type: ignore[operator]
        found.append(x)
    return found


@pytest.mark.parametrize("form", ["pth", "wrapped", "prefixed", "safetensors"])
def test_imported_weights_give_the_features_of_the_network_that_they_come_from(
    whole: nn.Module, tmp_path: Path, form: str
) -> None:
    state = whole.state_dict()
    file = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth")
    if form == "safetensors":
        save_file(state, file)
    else:
        saved: Any = {f"module.{k}": v for k, v in state.items()} if form == "prefixed" else state
        torch.save({"epoch": 3, "state_dict": saved} if form == "wrapped" else saved, file)
    (name, imported), (found, again) = import_features(file, "resnet10t"), import_features(file)
    assert name == found == "resnet10t" and all(torch.equal(imported[key], again[key]) for key in imported)
    detector = build_detector("stpm", 3, {"backbone": "resnet10t"}).eval()
    detector.load_teacher(imported)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        wanted = features_of(whole.eval(), x)
        given = detector.teacher.network(x)  # type: ignore[operator,union-attr]
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(wanted, given, strict=True))


def test_torchvision_features_are_those_before_the_stride_changes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = torchvision.models.resnet18(weights=None).eval()
    torch.save(whole.state_dict(), tmp_path / "resnet18.pth")
    network = feature_network("test", "torchvision/resnet18", 3, (1, 2, 3)).eval()
    network.load_state_dict(matched(network, read_weights(tmp_path / "resnet18.pth"), "test"))
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        y = whole.maxpool(whole.relu(whole.bn1(whole.conv1(x))))
        wanted = [y := layer(y) for layer in (whole.layer1, whole.layer2, whole.layer3)]
        given = network(x)
    assert network.feature_info.channels() == [64, 128, 256] and network.feature_info.reduction() == [4, 8, 16]
    assert all(torch.equal(a, b) for a, b in zip(wanted, given, strict=True))


def test_every_name_of_the_two_libraries_is_one_or_is_refused() -> None:
    assert feature_network("test", "torchvision/mobilenet_v2", 1, (1, 2)).feature_info.reduction() == [4, 8]
    for wrong in ("torchvision/nothing", "nothing", "torchvision/../x"):
        with pytest.raises(BadSettings, match="not known to"):
            feature_network("test", wrong, 3, (1, 2, 3))
    with pytest.raises(BadSettings, match="not levels of"):
        feature_network("test", "torchvision/resnet18", 3, (1, 9))


def test_nothing_of_a_hostile_file_is_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    with (tmp_path / "plain.pth").open("wb") as stream:
        pickle.dump({"a": Bomb(mark)}, stream)
    torch.save({"conv1.weight": Bomb(mark)}, tmp_path / "zipped.pth")
    torch.save(timm.create_model("resnet10t"), tmp_path / "whole-network.pt")
    for name in ("plain.pth", "zipped.pth", "whole-network.pt"):
        with pytest.raises(BadModel, match=r"not read|no table"):
            import_features(tmp_path / name, "resnet10t")
    assert not mark.exists()


def _damaged(tmp_path: Path, kind: str, state: dict[str, Tensor]) -> Path:
    file = tmp_path / f"{kind}.{'safetensors' if kind.startswith('safe') else 'pth'}"
    if kind == "cut":
        torch.save(state, file)
        file.write_bytes(file.read_bytes()[:5000])
    elif kind == "safe cut":
        save_file(state, file)
        file.write_bytes(file.read_bytes()[:5000])
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "list":
        torch.save([1, 2], file)
    elif kind == "not finite":
        torch.save({**state, "layer1.0.conv1.weight": torch.full_like(state["layer1.0.conv1.weight"], float("nan"))}, file)
    elif kind == "other network":
        torch.save(timm.create_model("resnet18").state_dict(), file)
    return file


@pytest.mark.parametrize("kind", ["cut", "safe cut", "empty", "list", "not finite", "other network", "missing"])
def test_damaged_and_foreign_files_are_refused_in_one_line(whole: nn.Module, tmp_path: Path, kind: str) -> None:
    with pytest.raises(ChangeoverError) as refused:
        import_features(_damaged(tmp_path, kind, whole.state_dict()), "resnet10t")
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400


def test_a_teacher_comes_back_as_it_was_written_and_not_otherwise(tmp_path: Path) -> None:
    assert read_teacher(tmp_path / "none") is None
    weights = {"b": torch.randn(3, 4), "a": torch.arange(3)}
    card = write_teacher(tmp_path, weights, **CARD_OF)
    again = write_teacher(tmp_path / "again", dict(reversed(weights.items())), **CARD_OF)
    assert card.digest == again.digest, "the same weights have the same digest, in whatever order"
    found = read_teacher(tmp_path)
    assert found is not None and found.card == card and torch.equal(found.weights["b"], weights["b"])
    blob = bytearray((tmp_path / WEIGHTS).read_bytes())
    blob[-1] ^= 1
    (tmp_path / WEIGHTS).write_bytes(blob)
    with pytest.raises(BadModel, match="digest"):
        read_teacher(tmp_path)
    (tmp_path / CARD).write_text('{"digest": null}')
    assert read_teacher(tmp_path) is None
    (tmp_path / CARD).write_text('{"name": "x"}')
    with pytest.raises(BadModel, match="damaged"):
        read_teacher(tmp_path)


def test_each_family_takes_the_teachers_that_it_can(tmp_path: Path) -> None:
    weights = dict(feature_network("test", "resnet10t", 3, (1, 2, 3)).state_dict())
    write_teacher(tmp_path, weights, **CARD_OF)
    teacher = read_teacher(tmp_path)
    assert isinstance(teacher, TeacherFile)
    for family in ("stpm", "rstpm", "denoising_student", "patchcore"):
        detector = build_detector(family, 1, with_teacher(family, {}, teacher.card)).eval()
        before = detector(torch.ones(1, 1, 64, 64).cumsum(3) / 64)
        teach(detector, teacher)
        kept = [value for key, value in detector.state_dict().items() if key.endswith("network.layer2.0.conv1.weight")]
        assert any(torch.equal(value, weights["layer2.0.conv1.weight"]) for value in kept), family
        assert family == "patchcore" or not torch.equal(before, detector(torch.ones(1, 1, 64, 64).cumsum(3) / 64))
    assert with_teacher("unet3plus", {"width": 8}, teacher.card) == {"width": 8}
    assert with_teacher("uninformed_students", {}, teacher.card) == {}
    teach(build_detector("uninformed_students", 1, {"sides": (17,)}), teacher)  # leaves it as it is


def test_names_are_made_fit() -> None:
    assert teacher_name("timm/ResNet18.a1_in1k") == "timm-resnet18.a1_in1k"
    assert teacher_name("../..") == "teacher"
