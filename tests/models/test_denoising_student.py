"""The denoising student: what it learns from, what its head sees, and where gradients go."""

from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch

from core.errors import BadSettings
from data.defects.recipe import Recipe
from data.defects.scale import measure_scale
from models.detectors.catalogue import build_detector
from models.detectors.denoising_student import DenoisingStudent, agreement
from models.detectors.losses import segmentation_loss
from models.trainable import TrainingBatch
from models.training.crop_loader import CropLoader
from models.training.crops import CropPlan, CropSeries
from tests.models.detector_tests import DetectorTests, good_image


class TestDenoisingStudent(DetectorTests):
    name = "denoising_student"
    settings: ClassVar[dict[str, Any]] = {"backbone": "test_resnet", "width": 16}
    steps = 60


def test_agreement_adds_up_to_the_cosine() -> None:
    wanted, given = torch.randn(2, 8, 5, 7), torch.randn(2, 8, 5, 7)
    assert torch.allclose(agreement(wanted, given).sum(1), torch.cosine_similarity(wanted, given), atol=1e-5)


def test_loss_is_the_cosine_distance_from_the_clean_crops_and_the_heads() -> None:
    detector = DenoisingStudent(1, "resnet10t", width=16).eval()
    clean = torch.randn(2, 1, 64, 64)
    labels = torch.zeros(2, 1, 64, 64)
    labels[0, :, 8:20, 8:20] = 1.0
    batch = TrainingBatch(clean + 3 * labels, labels, torch.tensor([1.0, 0.0]), clean)
    with torch.no_grad():
        given = detector.denoised(batch.images)
        by_hand = sum((1 - torch.cosine_similarity(w, g)).mean() for w, g in zip(detector.teacher(clean), given, strict=True))
        by_hand = by_hand + segmentation_loss(detector(batch.images), labels, batch.defective)
        assert torch.allclose(detector.training_loss(batch, 0.0), by_hand, atol=1e-4)
    assert detector.training_dice is not None


def test_the_head_does_not_teach_the_student() -> None:
    detector = DenoisingStudent(1, "resnet10t", width=16).train()
    clean, labels = torch.randn(2, 1, 64, 64), torch.ones(2, 1, 64, 64)
    detector.training_loss(TrainingBatch(clean, labels, torch.ones(2), clean), 0.0).backward()
    both = [p.grad.clone() for p in detector.decoder.parameters() if p.grad is not None]
    detector.zero_grad()
    detector.training_loss(TrainingBatch(clean, 0 * labels, torch.zeros(2), clean), 0.0).backward()
    other = [p.grad for p in detector.decoder.parameters() if p.grad is not None]
    assert both and all(torch.equal(a, b) for a, b in zip(both, other, strict=True))


def test_a_batch_without_clean_crops_and_levels_that_do_not_double_are_refused() -> None:
    detector = build_detector("denoising_student", 1, {"backbone": "resnet10t"})
    with pytest.raises(BadSettings, match="draw them with"):
        detector.training_loss(TrainingBatch(torch.zeros(1, 1, 64, 64), torch.zeros(1, 1, 64, 64), torch.zeros(1)), 0.0)
    with pytest.raises(BadSettings, match=r"denoising_student.levels \(1, 3\) have strides"):
        build_detector("denoising_student", 1, {"levels": (1, 3)})


def test_a_student_trained_on_one_pair_until_it_converges_gives_the_clean_features() -> None:
    torch.manual_seed(0)
    detector = DenoisingStudent(1, "resnet10t", levels=(1, 2), width=96).train()
    clean = torch.randn(1, 1, 32, 32)
    labels = torch.zeros(1, 1, 32, 32)
    labels[:, :, 8:20, 12:24] = 1.0
    detector.prepare(clean)
    batch = TrainingBatch(clean * (1 - labels), labels, torch.ones(1), clean)
    optimiser = torch.optim.Adam([p for p in detector.parameters() if p.requires_grad], 3e-3)
    for _ in range(120):
        optimiser.zero_grad()
        detector.training_loss(batch, 0.0).backward()
        optimiser.step()
    with torch.no_grad():
        given, wanted, there = detector.denoised(batch.images), detector.teacher(clean), detector.teacher(batch.images)
        for g, w, t in zip(given, wanted, there, strict=True):
            assert torch.cosine_similarity(g, w).mean() > 0.9
            assert torch.cosine_similarity(t, w).mean() < 0.9  # as they are they differ
        assert (detector(batch.images) > 0).float().sub(labels).abs().mean() < 0.05


def test_clean_crops_come_only_where_asked_for_and_change_nothing_else() -> None:
    images = [good_image(i) for i in range(4)]
    plan = CropPlan(Recipe(), measure_scale(images), 64, 32, "linear", 3)
    without = list(CropLoader(CropSeries(images, plan), 8, 0).batches(0, 4))
    beside = list(CropLoader(CropSeries(images, replace(plan, with_clean=True)), 8, 0).batches(0, 4))
    again = list(CropLoader(CropSeries(images, replace(plan, with_clean=True)), 8, 0).batches(2, 4))
    for a, b in zip(without, beside, strict=True):
        assert a.clean is None and b.clean is not None
        assert torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels)
        clean_ones = b.defective == 0
        assert torch.equal(b.clean[clean_ones], b.images[clean_ones])
        changed = (b.clean - b.images).abs().amax((1, 2, 3)) > 0
        assert changed[b.defective == 1].all()
    assert all(torch.equal(a.clean, b.clean) for a, b in zip(again, beside[2:], strict=True))  # type: ignore[arg-type]


def test_outside_of_what_was_drawn_the_clean_crop_is_the_same() -> None:
    images = [good_image(i, channels=3) for i in range(4)]
    series = CropSeries(images, CropPlan(Recipe(), measure_scale(images), 96, 40, "none", 1, with_clean=True))
    for i in range(40):
        image, label, clean = series[i]
        away = torch.nn.functional.max_pool2d(label[None], 49, 1, 24)[0, 0] == 0
        differs = (image - clean).abs().amax(0) > 1e-6
        assert not (differs & away).any()
