"""STPM, and the teachers that it shares with others."""

from typing import Any, ClassVar

import pytest
import torch

from core.errors import BadSettings
from models.detectors.catalogue import build_detector
from models.detectors.stpm import Stpm, distance
from models.teachers.feature_extractor import FeatureExtractor
from models.trainable import TrainingBatch
from tests.models.detector_tests import DetectorTests


class TestStpm(DetectorTests):
    name = "stpm"
    settings: ClassVar[dict[str, Any]] = {"backbone": "test_resnet"}
    steps = 100


def teacher(seed: int = 0) -> FeatureExtractor:
    return FeatureExtractor("stpm", "resnet10t", (1, 2, 3), seed)


def test_distance_is_the_published_formula_by_hand() -> None:
    """Half the squared distance of unit vectors (Wang 2021, eqs. 1 and 2): (3, 4) and (0, 2) are (.6, .8) and (0, 1)."""
    wanted, given = torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[0.0, 2.0], [-5.0, 0.0]])
    shown = distance(*(t.T[None, :, None] for t in (wanted, given)))  # two positions
    assert torch.allclose(shown, torch.tensor([0.5 * (0.36 + 0.04), 2.0]).reshape(1, 1, 1, 2))
    wanted, given = torch.randn(2, 8, 5, 7), torch.randn(2, 8, 5, 7)
    assert torch.allclose(distance(wanted, given)[:, 0], 1 - torch.cosine_similarity(wanted, given), atol=1e-5)


def test_loss_and_map_weigh_levels_and_average_students() -> None:
    detector = Stpm(1, "resnet10t", weights=(1.0, 2.0, 0.5), students=2).eval()
    x = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        one, two = detector.distances(x)
        by_hand = sum(0.5 * w * (a.mean() + b.mean()) for w, a, b in zip((1.0, 2.0, 0.5), one, two, strict=True))
        loss = detector.training_loss(TrainingBatch(x, torch.zeros(1, 1, 64, 64), torch.zeros(1)), 0.0)
        assert torch.allclose(loss, torch.as_tensor(by_hand))
        # Where neighbours agree, enlarging changes nothing: constant distances give a constant map.
        flat = [[torch.full_like(d, value) for d, value in zip(levels, (0.1, 0.2, 0.4), strict=True)] for levels in (one, two)]
        detector.distances = lambda images: flat  # type: ignore[method-assign]
        wanted = torch.tensor([0.1, 0.2, 0.4]).log() @ torch.tensor([1.0, 2.0, 0.5]) / 3.5
        assert torch.allclose(detector(x), wanted.expand(1, 1, 64, 64), atol=1e-4)


def test_standardised_features_have_no_mean_and_unit_spread_on_good_crops() -> None:
    frozen, good = teacher(), torch.randn(32, 1, 64, 64)
    frozen.standardise(good)
    for wanted in frozen.train()(good):
        live = wanted.std((0, 2, 3)) > 0.1  # channels that the ReLU silences everywhere stay at zero
        assert live.float().mean() > 0.5
        assert wanted.mean((0, 2, 3))[live].abs().max() < 0.1
        assert (wanted.std((0, 2, 3))[live] - 1).abs().max() < 0.1


def test_teacher_is_frozen_seeded_and_part_of_the_state() -> None:
    first, second, other = teacher(3), teacher(3), teacher(4)
    for (name, a), (_, b) in zip(first.named_parameters(), second.named_parameters(), strict=True):
        assert torch.equal(a, b), name
        assert not a.requires_grad
    assert not torch.equal(next(first.parameters()), next(other.parameters()))
    assert any(key.startswith("teacher.network.") for key in Stpm(1, "resnet10t").state_dict())


def test_a_student_that_equals_its_teacher_up_to_length_sees_no_anomaly() -> None:
    detector = Stpm(1, "resnet10t").eval()
    stands_in = torch.nn.Module()
    stands_in.forward = lambda images: [2 * f for f in detector.teacher(images)]  # type: ignore[method-assign]
    detector.students = torch.nn.ModuleList([stands_in])
    with torch.no_grad():
        assert all(float(d.max()) < 1e-6 for d in detector.distances(torch.randn(1, 1, 64, 64))[0])


def test_a_student_trained_on_one_image_until_it_converges_sees_nothing_there() -> None:
    torch.manual_seed(0)
    detector = Stpm(1, "resnet10t", levels=(1, 2)).train()
    x = torch.randn(2, 1, 32, 32)
    detector.prepare(x)
    optimiser = torch.optim.Adam([p for p in detector.parameters() if p.requires_grad], 3e-3)
    batch = TrainingBatch(x, torch.zeros(2, 1, 32, 32), torch.zeros(2))
    losses = []
    for _ in range(150):
        optimiser.zero_grad()
        loss = detector.training_loss(batch, 0.0)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[0] > 1.0 and losses[-1] < 0.02


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backbone": "resnet7"}, "stpm.backbone 'resnet7' is not known to timm"),
        ({"levels": (1, 9)}, r"stpm.levels \(1, 9\) are not levels of resnet18"),
        ({"weights": (1.0, 1.0)}, "stpm.weights .* must be 3 positive numbers"),
        ({"students": 0}, "stpm.students 0 must be 1 or more"),
    ],
)
def test_settings_that_cannot_be_had_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(BadSettings, match=message):
        build_detector("stpm", 1, settings)
