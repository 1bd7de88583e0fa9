"""RSTPM: six maps, combined as written, and what can be switched off."""

import math
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F

from core.errors import BadSettings
from models.detectors.catalogue import build_detector
from models.detectors.feature_decoder import AttentionGate, FeatureDecoder
from models.detectors.rstpm import Rstpm
from models.detectors.stpm import Stpm
from models.trainable import TrainingBatch
from tests.models.detector_tests import DetectorTests

SMALL = {"backbone": "test_resnet", "second_backbone": "test_resnet", "width": 16}


class TestRstpm(DetectorTests):
    name = "rstpm"
    settings: ClassVar[dict[str, Any]] = SMALL
    steps = 50


def test_six_maps_are_combined_as_the_docstring_says() -> None:
    detector = Rstpm(1, "resnet10t", width=16).eval()
    x = torch.randn(2, 1, 64, 96)
    with torch.no_grad():
        found = detector.distances(x)
        assert [tuple(d.shape) for d in found] == [(2, 1, 64 // s, 96 // s) for s in (4, 8, 16, 4, 8, 16)]
        seen, wanted = detector.first.teacher(x), detector.teacher(x)
        pairs = [*zip(seen, detector.first.students[0](x), strict=True), *zip(wanted, detector.student(seen), strict=True)]
        total, by_hand = torch.zeros(()), torch.zeros(2, 1, 64, 96)
        for shown, (w, g) in zip(found, pairs, strict=True):
            one = 1 - (w * g).sum(1, keepdim=True) / (w.norm(dim=1, keepdim=True) * g.norm(dim=1, keepdim=True))
            assert torch.allclose(shown, one, atol=1e-5)
            total = total + one.mean()
            by_hand = by_hand + F.interpolate((one + 1e-6).log(), size=(64, 96), mode="bilinear") / 6
        assert torch.allclose(detector(x), by_hand, atol=1e-4)
        loss = detector.training_loss(TrainingBatch(x, torch.zeros(2, 1, 64, 96), torch.zeros(2)), 0.0)
        assert torch.allclose(loss, total, atol=1e-5)


def test_without_its_second_pair_it_is_stpm() -> None:
    torch.manual_seed(5)
    ours = Rstpm(1, "resnet10t", second=False).eval()
    torch.manual_seed(5)
    theirs = Stpm(1, "resnet10t").eval()
    x = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        assert len(ours.distances(x)) == 3 and torch.equal(ours(x), theirs(x))


def test_the_second_teacher_is_another_and_both_are_frozen() -> None:
    detector = Rstpm(1, "resnet10t", "resnet10t", width=16)
    first, second = (t.network.state_dict()["conv1.0.weight"] for t in (detector.first.teacher, detector.teacher))
    assert first.shape == second.shape and not torch.equal(first, second)
    assert not any(p.requires_grad for t in (detector.first.teacher, detector.teacher) for p in t.parameters())


def test_attention_worked_by_hand_and_switched_off() -> None:
    gate = AttentionGate(1)
    for parameter in gate.parameters():
        torch.nn.init.ones_(parameter)
    skip, decoded = torch.tensor([3.0, -9.0]).reshape(1, 1, 1, 2), torch.tensor([1.0, 2.0]).reshape(1, 1, 1, 2)
    # 3 + 1 + 1 + 1 = 6 and one more; -9 + 1 + 2 + 1 is cut at 0, and one more
    by_hand = [3.0 / (1 + math.exp(-7)), -9.0 / (1 + math.exp(-1))]
    assert gate(skip, decoded).flatten().tolist() == pytest.approx(by_hand)
    with_it, without = (sum(p.numel() for p in FeatureDecoder([8, 8], [4, 4], 16, on).parameters()) for on in (True, False))
    assert with_it - without == 2 * (2 * (16 * 16 + 16) + 17)


def test_the_student_of_good_features_is_at_a_loss_where_it_saw_none() -> None:
    """Trained on one image until it reconstructs it, it gives nothing there and something elsewhere."""
    torch.manual_seed(0)
    detector = Rstpm(1, "resnet10t", "resnet10t", levels=(1, 2), width=64).train()
    x = torch.randn(2, 1, 32, 32)
    detector.prepare(x)
    optimiser = torch.optim.Adam([p for p in detector.parameters() if p.requires_grad], 3e-3)
    batch = TrainingBatch(x, torch.zeros(2, 1, 32, 32), torch.zeros(2))
    for _ in range(120):
        optimiser.zero_grad()
        detector.training_loss(batch, 0.0).backward()
        optimiser.step()
    with torch.no_grad():
        assert all(float(d.mean()) < 0.05 for d in detector.distances(x))
        assert all(float(d.mean()) > 0.2 for d in detector.distances(torch.randn(2, 1, 32, 32)))


def test_teachers_whose_levels_do_not_fit_are_refused() -> None:
    with pytest.raises(BadSettings, match=r"rstpm.levels \(1, 3\) have strides"):
        build_detector("rstpm", 1, {"levels": (1, 3)})
