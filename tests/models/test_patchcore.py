"""PatchCore: its memory and its distances against plain implementations."""

from pathlib import Path
from typing import Any, ClassVar

import onnx
import pytest
import torch

from core.errors import BadSettings
from data.defects.recipe import Recipe
from data.defects.scale import measure_scale
from models.detectors import patchcore
from models.detectors.catalogue import build_detector
from models.detectors.detector import Whole
from models.detectors.patchcore import PatchCore, k_centre
from models.inspection.export import export
from models.inspection.inspector import Inspector, raw_maps
from models.training.budget import Plan
from models.training.crops import CropPlan
from models.training.fit import Spec, fit
from tests.models.detector_tests import DetectorTests, good_image


class TestPatchCore(DetectorTests):
    name = "patchcore"
    settings: ClassVar[dict[str, Any]] = {"backbone": "resnet10t", "size": 500}

    def test_loss_has_gradients_for_everything_that_learns(self) -> None:
        assert not any(p.requires_grad for p in build_detector(self.name, 1, self.settings).parameters())


def test_the_exported_file_holds_the_memory_once(tmp_path: Path) -> None:
    detector = PatchCore(backbone="resnet10t", size=500)
    detector.memory.normal_()
    export(Inspector([detector.eval()], 1.0).eval(), tmp_path / "model.onnx", 1, {"threshold": "nan", "pixel_threshold": "nan"})
    tables = [
        tuple(one.dims) for one in onnx.load(tmp_path / "model.onnx").graph.initializer if 500 in one.dims and len(one.dims) == 2
    ]
    assert len(tables) == 1


def naive_k_centre(points: torch.Tensor, count: int) -> list[int]:
    chosen = [0]
    while len(chosen) < count:
        away = [min(float((p - points[c]).norm()) for c in chosen) for p in points]
        chosen.append(max(range(len(points)), key=lambda i: away[i]))
    return chosen


def test_coreset_is_that_of_a_naive_implementation() -> None:
    points = torch.randn(60, 5, generator=torch.Generator().manual_seed(4))
    chosen, reach = k_centre(points, 12)
    assert chosen.tolist() == naive_k_centre(points, 12)
    assert reach == pytest.approx(float(torch.cdist(points, points[chosen]).amin(1).max()), abs=1e-5)


def test_a_memory_larger_than_what_there_is_keeps_all_of_it() -> None:
    points = torch.arange(4.0)[:, None]
    chosen, reach = k_centre(points, 7)
    assert chosen.tolist() == [0, 3, 1, 2, 0, 0, 0] and reach == 0.0


def test_map_is_the_distance_that_brute_force_finds() -> None:
    detector = PatchCore(1, "resnet10t", size=40).eval()
    x = torch.randn(2, 1, 64, 96)
    with torch.no_grad():
        patches = detector.patches(x)  # (2, c, 8, 12)
        detector.memory.copy_(torch.randn_like(detector.memory))
        flat = patches.flatten(2).transpose(1, 2)
        by_hand = torch.cdist(flat, detector.memory.expand(2, -1, -1)).amin(2).reshape(2, 1, 8, 12) / patches.shape[1] ** 0.5
        wanted = torch.nn.functional.interpolate(by_hand, size=(64, 96), mode="bilinear", align_corners=False)
        assert torch.allclose(detector(x), wanted, atol=1e-4)


def test_a_patch_is_the_mean_of_its_neighbours_on_both_levels() -> None:
    detector = PatchCore(1, "resnet10t").eval()
    x = torch.randn(1, 1, 64, 64)
    fine, coarse = detector.teacher(x)
    patches = detector.patches(x)
    widths = detector.teacher.widths
    assert torch.allclose(patches[0, : widths[0], 3, 4], fine[0, :, 2:5, 3:6].mean((1, 2)), atol=1e-5)
    assert patches.shape == (1, sum(widths), 8, 8) and coarse.shape[-1] == 4


def test_what_is_remembered_whole_has_no_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = PatchCore(1, "resnet10t", size=100).eval()
    good = [torch.randn(1, 1, 32, 64), torch.randn(1, 1, 64, 32)]
    detector.teacher.standardise(torch.cat([image.reshape(1, 1, 32, 64) for image in good]))
    whole = [Whole(image, slice(0, image.shape[2]), slice(0, image.shape[3])) for image in good]
    assert detector.build_memory_bank(whole, 2) < 1e-6  # 64 patches in 100 places
    with torch.no_grad():
        assert max(float(detector(image).max()) for image in good) < 1e-2
        assert detector(torch.randn(1, 1, 64, 64)).amin() > 0.05
    monkeypatch.setattr(patchcore, "CANDIDATES", 20)
    detector.build_memory_bank(whole, 2)
    assert len(detector.memory.unique(dim=0)) == 20


def test_training_remembers_every_place_of_whole_images_and_not_only_crops() -> None:
    images = [good_image(1), good_image(2, height=96)]  # with their margins 480 and 384 patches
    spec = Spec("patchcore", {"backbone": "resnet10t", "size": 900}, batch_size=8, side=64)
    detector, log = fit(images, CropPlan(Recipe(), measure_scale(images), 64, 0, "none", 0), spec, Plan(1e9), lambda d: 0.25)
    assert (log.steps, log.steps_planned, log.ended_by, log.validations) == (1, 1, "steps", [(1, 0.25)])
    inspector = Inspector([detector], 1.0).eval()
    assert all(float(raw_maps(inspector, image)[0].max()) < 1e-2 for image in images)
    assert float(raw_maps(inspector, good_image(3))[0].max()) > 0.05


def test_patches_are_standardised_over_whole_images_without_their_margins() -> None:
    """The memory of everything that there is has mean 0 and spread 1 in every channel, and margins are not in it."""
    detector = PatchCore(1, "resnet10t", size=120).eval()
    detector.teacher.standardise(torch.randn(4, 1, 64, 64))
    good = [torch.nn.functional.pad(torch.randn(1, 1, 32, 64), (24, 24, 24, 24)) for _ in range(2)]
    detector.build_memory_bank([Whole(image, slice(24, 56), slice(24, 88)) for image in good], 2)
    assert torch.allclose(detector.memory.mean(0), torch.zeros(1), atol=1e-4)
    assert torch.allclose(detector.memory.std(0, correction=0), torch.ones(1), atol=1e-2)
    with torch.no_grad():
        inside = detector(good[0])[..., 24:56, 24:88]
        assert float(inside.max()) < 1e-2 < float(detector(good[0]).max())


def test_settings_that_cannot_be_had_are_refused() -> None:
    with pytest.raises(BadSettings, match=r"patchcore.levels \(1, 2, 3\) must be two"):
        build_detector("patchcore", 1, {"levels": (1, 2, 3)})
