"""Vision transformers as teachers: timm's own features, any image size, and a memory on them that exports. Weights are random:
none can be had here."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from core.errors import BadModel, BadSettings
from models.detectors.catalogue import build_detector
from models.detectors.teaching import teach, with_teacher
from models.exported import ExportedInspector
from models.inspection.export import export
from models.inspection.inspector import Inspector
from models.teachers.distil import Distillation
from models.teachers.feature_network import feature_network
from models.teachers.recognise import recognised
from models.teachers.teacher_file import TeacherFile, import_features, read_teacher, write_teacher
from models.teachers.vision_transformer import TransformerFeatures, is_transformer
from models.training.memory_bank import fill_memory_bank
from models.training.trained import teacher_text
from tests.models.detector_tests import good_image

SMALL = "vit_tiny_patch16_224"
DINOV2 = "vit_small_patch14_dinov2"


def whole(name: str) -> nn.Module:
    torch.manual_seed(3)
    network: nn.Module = timm.create_model(name, pretrained=False, num_classes=0)
    return network.eval()


@pytest.mark.parametrize("name", [DINOV2, "vit_small_patch14_reg4_dinov2", SMALL, "vit_small_patch8_224"])
def test_features_are_those_that_timm_gives(name: str) -> None:
    reference = whole(name)
    own = TransformerFeatures("test", name, (1, 2, 3, 4)).eval()
    own.network.load_state_dict(reference.state_dict())
    assert own.ends == [3, 6, 9, 12] and own.feature_info.reduction() == [own.stride] * 4
    side = own.grid * own.stride  # of an image that is brought to the size the network was made for
    image = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    seen = F.interpolate(image, size=(own.grid * own.patch,) * 2, mode="bilinear", align_corners=False)
    with torch.no_grad():
        wanted = reference.forward_intermediates(seen, indices=[2, 5, 8, 11], norm=True, intermediates_only=True)  # type: ignore[operator]
        for ours, theirs in zip(own(image), wanted, strict=True):
            assert torch.allclose(ours, theirs, atol=1e-5)


def test_positions_follow_the_place_in_images_of_any_size() -> None:
    own = TransformerFeatures("test", DINOV2, (2,)).eval()
    for height, width in ((96, 160), (32, 512), (544, 96)):
        (features,) = own(torch.randn(1, 3, height, width))
        assert features.shape == (1, 384, height // 16, width // 16)
    assert torch.allclose(own._positions(own.grid, own.grid).flatten(2).transpose(1, 2), own.network.pos_embed[:, 1:], atol=1e-5)


def test_what_is_behind_the_last_level_is_left_out() -> None:
    assert len(TransformerFeatures("test", SMALL, (2, 3)).network.blocks) == 9
    for levels in ((0, 1), (5,), ()):
        with pytest.raises(BadSettings, match="quarters are 1 to 4"):
            TransformerFeatures("test", SMALL, levels)
    assert is_transformer("vit_small_patch14_dinov2.lvd142m") and not is_transformer("resnet18") and not is_transformer("")
    assert isinstance(feature_network("test", SMALL, 3, (1, 2, 3)), TransformerFeatures)


@pytest.mark.parametrize("name", [DINOV2, "vit_small_patch14_reg4_dinov2", "vit_small_patch16_224"])
def test_a_file_is_recognised_by_its_tensors(name: str, tmp_path: Path) -> None:
    state = dict(whole(name).state_dict())
    published = {**state, "mask_token": torch.zeros(1, 384)}  # DINOv2's files hold one
    assert recognised(published, "w.pth")[0] == name
    torch.save(published, tmp_path / "w.pth")
    found, weights = import_features(tmp_path / "w.pth")
    assert found == name and torch.equal(weights["network.blocks.8.mlp.fc2.weight"], state["blocks.8.mlp.fc2.weight"])
    assert not any("blocks.9." in key for key in weights)
    cut = {key: value for key, value in published.items() if not key.startswith("blocks.4.")}
    with pytest.raises(BadModel, match="--backbone"):
        recognised(cut, "w.pth")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> TeacherFile:
    folder = tmp_path_factory.mktemp("teacher")
    torch.save(whole(SMALL).state_dict(), folder / "w.pth")
    backbone, weights = import_features(folder / "w.pth")
    told = {"source": "imported", "origin": "w.pth", "licence": "test"}
    write_teacher(folder, weights, name="vit", kind="features", settings={"backbone": backbone}, **told)
    found = read_teacher(folder)
    assert found is not None
    return found


def test_what_compares_takes_it_and_students_that_are_built_like_their_teacher_do_not(teacher: TeacherFile) -> None:
    assert with_teacher("patchcore", {"backbone": "resnet10t"}, teacher.card) == {"backbone": SMALL, "spread": 0.4}
    for family in ("stpm", "rstpm", "denoising_student"):
        settings = with_teacher(family, {"backbone": "resnet10t"}, teacher.card)
        assert settings == {"backbone": "resnet10t"}
        teach(build_detector(family, 1, settings), teacher)  # and nothing is loaded into it
    encoder = {"encoder": "tu-regnetx_002", "depth": 4, "width": 8}
    assert with_teacher("unet3plus", encoder, teacher.card) == encoder


def test_the_report_names_it_where_something_takes_it_and_nowhere_else(teacher: TeacherFile) -> None:
    def told(*families: str) -> str:
        networks = [{"detector": family, "settings": {}} for family in families]
        return teacher_text({"networks": networks, "reductions": [1] * len(families), "detector": "", "settings": {},
                             "teacher": teacher.card.model_dump(mode="json")})  # fmt: skip

    assert told("unet3plus", "patchcore") == f"{teacher.card.title}; licence: test"
    assert told("stpm") == told("unet3plus", "denoising_student") == "random features"
    assert told("unet3plus") == "none: no network compares with one"


def test_grey_is_shown_in_three_channels() -> None:
    own = TransformerFeatures("test", SMALL, (2,)).eval()
    grey = torch.randn(2, 1, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(own(grey)[0], own(grey.repeat(1, 3, 1, 1))[0])


def test_a_memory_on_it_finds_what_is_new_and_exports(teacher: TeacherFile, tmp_path: Path) -> None:
    images = [good_image(seed, 1, 96, 160) for seed in range(6)]
    detector = build_detector("patchcore", 1, {**with_teacher("patchcore", {}, teacher.card), "size": 60})
    teach(detector, teacher)
    torch.manual_seed(1)
    crops = torch.stack([torch.from_numpy(image[:96, :96]).permute(2, 0, 1) / 255.0 for image in images])
    detector, _ = fill_memory_bank(detector, crops, images, None)
    inspector = Inspector([detector], 1.0).eval()
    inspector.threshold.fill_(0.0)
    export(inspector, tmp_path / "model.onnx", 1, {"product": "p", "batch": "b", "detector": "patchcore", "threshold": "0.0",
                                                  "pixel_threshold": "0.0"})  # fmt: skip
    exported = ExportedInspector(tmp_path / "model.onnx")
    for height, width in ((96, 160), (128, 96), (100, 205)):
        image = good_image(9, 1, height, width)
        broken = image.copy()
        broken[40:64, 40:64] = np.random.default_rng(0).integers(0, 255, (24, 24, 1))
        with torch.no_grad():
            maps = [inspector(torch.from_numpy(one)[None])[0][0].numpy() for one in (image, broken)]
        seen = [exported.inspect(one) for one in (image, broken)]
        assert all(np.allclose(ours, theirs.map, atol=2e-3) for ours, theirs in zip(maps, seen, strict=True))
        row, column = np.unravel_index(int(seen[1].map.argmax()), seen[1].map.shape)
        assert seen[1].score > seen[0].score and 24 <= row <= 80 and 24 <= column <= 80


def test_it_is_distilled_into_a_network_with_strides_of_its_own(teacher: TeacherFile) -> None:
    from models.trainable import TrainingBatch

    learner = Distillation(3, SMALL, "resnet10t")
    learner.load_parent(teacher)
    images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    learner.prepare(images)
    loss = learner.training_loss(TrainingBatch(images, torch.zeros(4, 1, 64, 64), torch.zeros(4)), 0.5)
    loss.backward()
    assert torch.isfinite(loss) and all(head.weight.grad is not None for head in learner.heads)  # type: ignore[union-attr]
