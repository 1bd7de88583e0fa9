"""STPM."""

from typing import Any, ClassVar

import torch

from models.stpm import Stpm
from tests.models.detector_tests import DetectorTests


class TestStpm(DetectorTests):
    name = "stpm"
    settings: ClassVar[dict[str, Any]] = {"backbone": "resnet10t"}
    steps = 150


def test_distance_is_the_published_formula_by_hand() -> None:
    """Half the squared distance of unit vectors is 1 - cosine (Wang 2021, eqs. 1 and 2)."""
    detector = Stpm(1, "resnet10t").eval()
    x = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        for given, (t, s) in zip(detector.distances(x), detector.features(x), strict=True):
            by_hand = 1.0 - (t * s).sum(1) / (t.norm(dim=1) * s.norm(dim=1))
            assert torch.allclose(given[:, 0], by_hand, atol=1e-5)


def test_prepare_standardises_the_teacher_on_good_crops() -> None:
    detector = Stpm(1, "resnet10t")
    good = torch.randn(32, 1, 64, 64)
    detector.prepare(good)
    with torch.no_grad():
        for wanted, _ in detector.eval().features(good):
            live = wanted.std((0, 2, 3)) > 0.1  # channels that the ReLU silences everywhere stay at zero
            assert live.float().mean() > 0.5
            assert wanted.mean((0, 2, 3))[live].abs().max() < 0.1
            assert (wanted.std((0, 2, 3))[live] - 1).abs().max() < 0.1


def test_teacher_is_frozen_seeded_and_part_of_the_state() -> None:
    first, second = Stpm(1, "resnet10t", teacher_seed=3), Stpm(1, "resnet10t", teacher_seed=3)
    for (name, a), (_, b) in zip(first.teacher.named_parameters(), second.teacher.named_parameters(), strict=True):
        assert torch.equal(a, b), name
        assert not a.requires_grad
    assert any(key.startswith("teacher.") for key in first.state_dict())


class Doubled(torch.nn.Module):
    """Stands in for a student that has learned everything: the standardised features themselves, twice as long."""

    def __init__(self, detector: Stpm) -> None:
        super().__init__()
        self.parts = (detector.teacher, detector.standards)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        teacher, standards = self.parts
        return [2 * standard(f) for standard, f in zip(standards, teacher(images), strict=True)]


def test_a_student_that_equals_its_teacher_up_to_length_sees_no_anomaly() -> None:
    detector = Stpm(1, "resnet10t").eval()
    detector.student = Doubled(detector)
    detector.heads = torch.nn.ModuleList(torch.nn.Identity() for _ in detector.heads)
    with torch.no_grad():
        assert all(float(d.max()) < 1e-6 for d in detector.distances(torch.randn(1, 1, 64, 64)))
