"""The objective tells good detectors from bad ones, and does not depend on which image a defect was drawn on."""

import numpy as np
import pytest
from scipy.stats import rankdata

from models.evaluation.exam import LabelledImage
from models.evaluation.objective import objective_of, separability

GOOD = [0.1, 0.4, 0.5, 0.9, 1.3]


def auroc_by_ranks(good: list[float], bad: list[float]) -> float:
    ranks = rankdata([*good, *bad])
    return (ranks[len(good) :].sum() - len(bad) * (len(bad) + 1) / 2) / (len(good) * len(bad))


@pytest.mark.parametrize("peak", [-5.0, 0.4, 0.7, 1.2, 9.0])
def test_a_defect_is_told_apart_as_on_every_part_it_could_have_been_on(peak: float) -> None:
    each = [
        auroc_by_ranks(GOOD[:i] + GOOD[i + 1 :], [max(part, peak)]) for i, part in enumerate(GOOD)
    ]  # fmt: skip
    assert separability(peak, GOOD) == pytest.approx(2 * np.mean(each) - 1)


def test_a_defect_that_nothing_shows_is_worth_nothing_and_never_less() -> None:
    assert separability(-5.0, GOOD) == pytest.approx(0.0)
    assert separability(9.0, GOOD) == 1.0


def exam(family: str, at: int) -> LabelledImage:
    label = np.zeros((64, 64), np.float32)
    label[at : at + 8, at : at + 8] = 1.0
    return LabelledImage(f"{family}-{at}", np.zeros((64, 64, 1), np.uint8), label, family, 0.5)


def shown(one: LabelledImage, value: float) -> np.ndarray:
    assert one.label is not None
    return np.asarray(0.2 + value * one.label[::2, ::2], np.float32)


def test_a_detector_that_shows_every_defect_scores_one_and_a_blind_one_about_zero() -> None:
    exams = [exam(family, at) for family in ("dent", "relief") for at in (8, 40)]
    assert objective_of(GOOD, [(one, shown(one, 5.0)) for one in exams]).value == pytest.approx(1.0)
    blind = objective_of(GOOD, [(one, shown(one, 0.0)) for one in exams])
    assert blind.value == pytest.approx(0.5 * 1 / 64) and set(blind.separation) == {"dent", "relief"}


def test_the_worse_half_of_the_families_weighs_more() -> None:
    exams = [exam(family, at) for family in ("a", "b", "c", "d") for at in (8, 40)]
    seen = [(one, shown(one, 0.0 if one.family in ("a", "b") else 5.0)) for one in exams]
    assert 0.25 < objective_of(GOOD, seen).value < 0.27
