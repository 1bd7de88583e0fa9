"""Losses on tensors worked out by hand."""

import math

import pytest
import torch

from models.detectors.losses import dice_loss, segmentation_loss
from models.training.curriculum import SCHEDULES, difficulty_range
from models.training.fit import learning_rate_at


def test_dice_by_hand() -> None:
    labels = torch.tensor([[[[1.0, 0.0]]]])
    logits = torch.tensor([[[[0.0, 0.0]]]])  # probability one half everywhere
    # overlap 0.5, squares 0.25 + 0.25 + 1: dice = (2 * 0.5 + 1) / (1.5 + 1)
    assert float(dice_loss(logits, labels, torch.ones(1))) == pytest.approx(1 - 2.0 / 2.5)


def test_dice_leaves_clean_samples_out() -> None:
    labels = torch.zeros(2, 1, 2, 2)
    labels[0] = 1.0
    logits = torch.full((2, 1, 2, 2), 20.0)  # sample 1 is one big false alarm
    assert float(dice_loss(logits, labels, torch.tensor([1.0, 0.0]))) == pytest.approx(0.0, abs=1e-4)
    assert float(dice_loss(logits, labels, torch.zeros(2))) == 0.0


def test_segmentation_loss_is_dice_and_cross_entropy_by_hand() -> None:
    logits, labels = torch.zeros(1, 1, 1, 2), torch.tensor([[[[1.0, 0.0]]]])
    assert float(segmentation_loss(logits, labels, torch.ones(1))) == pytest.approx(1 - 2.0 / 2.5 + math.log(2))
    assert float(segmentation_loss(logits, labels, torch.zeros(1))) == pytest.approx(math.log(2))


@pytest.mark.parametrize("schedule", [s for s in SCHEDULES if s != "competence"])
def test_curriculum_opens_monotonically_and_ends_with_everything(schedule: str) -> None:
    ranges = [difficulty_range(schedule, p / 50) for p in range(51)]  # type: ignore[arg-type]
    widths = [high - low for low, high in ranges]
    assert all(0.0 <= low < high <= 1.0 for low, high in ranges)
    assert widths == sorted(widths)
    assert ranges[-1] == (0.0, 1.0)


def test_curriculum_starts_easy() -> None:
    assert difficulty_range("linear", 0.0) == (0.0, 0.2)
    assert difficulty_range("root", 0.15) == pytest.approx((0.0, 0.6))


def test_learning_rate_warms_up_and_cools_down() -> None:
    rates = [learning_rate_at(p / 100) for p in range(101)]
    assert rates[0] < 0.05 and max(rates) == pytest.approx(1.0) and rates[-1] == pytest.approx(0.0, abs=1e-9)
    assert rates.index(max(rates)) == 5
