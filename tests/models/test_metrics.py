"""Figures of merit against a second implementation and against published properties."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from scipy.stats import binom
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from core.errors import BadBatch
from models.evaluation.metrics import aupro, auroc, average_precision, f1_max
from models.evaluation.rate import rate
from models.inspection.calibration import calibrate


@given(
    st.lists(st.tuples(st.booleans(), st.integers(-5, 5)), min_size=2, max_size=60).filter(lambda x: len({a for a, _ in x}) == 2)
)
def test_auroc_and_ap_agree_with_scikit_learn_ties_included(pairs: list[tuple[bool, int]]) -> None:
    labels, scores = [a for a, _ in pairs], [float(b) for _, b in pairs]
    assert auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))
    assert average_precision(labels, scores) == pytest.approx(average_precision_score(labels, scores))


def test_one_class_only() -> None:
    assert auroc([1, 1], [0.2, 0.3]) == 0.5
    assert average_precision([0, 0], [0.2, 0.3]) == 0.0


@given(st.integers(1, 60), st.data())
def test_clopper_pearson_bounds_are_where_the_binomial_tails_are_one_fortieth(n: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, n))
    result = rate(count, n)
    assert result.low <= result.rate <= result.high
    if count > 0:
        assert binom.sf(count - 1, n, result.low) == pytest.approx(0.025, rel=1e-4)
    if count < n:
        assert binom.cdf(count, n, result.high) == pytest.approx(0.025, rel=1e-4)


def test_rate_of_nothing() -> None:
    assert (rate(0, 0).low, rate(0, 0).high) == (0.0, 1.0)


@pytest.mark.parametrize(("n", "target"), [(199, 0.01), (60, 0.05), (30, 0.1)])
def test_conformal_overkill_on_fresh_parts_meets_the_target(n: int, target: float) -> None:
    rng = np.random.default_rng(n)
    # A skewed distribution: the bound must not lean on normality.
    overkill = [
        np.mean(rng.gamma(1.5, size=2000) > calibrate(rng.gamma(1.5, size=n), target).threshold) for _ in range(300)
    ]  # fmt: skip
    assert np.mean(overkill) <= target * 1.1
    assert np.mean(overkill) >= target * 0.5
    found = calibrate(rng.gamma(1.5, size=n), target)
    assert found.promised <= target == found.target


@pytest.mark.parametrize("n", [2, 5, 12])
def test_too_few_for_the_wish_promise_what_they_can_and_no_more(n: int) -> None:
    rng = np.random.default_rng(0)
    scores = rng.gamma(1.5, size=n)
    result = calibrate(scores, 0.01)
    assert result.threshold == scores.max()
    assert result.promised == result.target == pytest.approx(1 / (n + 1))
    assert f"{1 / (n + 1):.1%}" in result.guarantee and "99 calibration images" in result.guarantee
    overkill = [np.mean(rng.gamma(1.5, size=2000) > calibrate(rng.gamma(1.5, size=n), 0.01).threshold) for _ in range(600)]
    assert np.mean(overkill) == pytest.approx(1 / (n + 1), rel=0.1)


@pytest.mark.parametrize("scores", [[], [1.0], [1.0, float("nan")]])
def test_unusable_calibration_scores_are_refused(scores: list[float]) -> None:
    with pytest.raises(BadBatch, match="too few"):
        calibrate(scores, 0.01)


def test_largest_f1_agrees_with_the_precision_recall_curve() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        labels, scores = rng.integers(0, 2, 40), rng.integers(0, 12, 40).astype(float)
        precision, recall, thresholds = precision_recall_curve(labels, scores)
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        best, at = f1_max(labels, scores)
        assert best == pytest.approx(f1.max())
        assert at in thresholds
    assert f1_max([0, 0], [1.0, 2.0]) == (0.0, float("inf"))


def threshold_by_threshold(maps: list[np.ndarray], labels: list[np.ndarray], limit: float) -> float:
    """AUPRO as its definition reads (Bergmann 2020), with SciPy's regions and one threshold after the other."""
    regions, outside = [], []
    for anomaly, label in zip(maps, labels, strict=True):
        marks, count = ndimage.label(label > 0.5, structure=np.ones((3, 3)))
        regions += [anomaly[marks == i] for i in range(1, count + 1)]
        outside.append(anomaly[label <= 0.5])
    good = np.concatenate(outside)
    curve = [(0.0, 0.0)]
    for threshold in sorted(np.unique(np.concatenate([m.ravel() for m in maps])), reverse=True):
        curve.append((float(np.mean(good >= threshold)), float(np.mean([np.mean(r >= threshold) for r in regions]))))
    x, y = np.array(curve).T
    grid = np.unique(np.r_[x[x <= limit], limit])
    # On a vertical stretch the curve ends at its top, and the next stretch starts there.
    area = 0.0
    for a, b in itertools.pairwise(grid):
        start, end = y[x <= a].max(), np.interp(b, *_last_of_each(x, y))
        first = y[x == b].min() if (x == b).any() else end
        area += (b - a) * (start + (first if b < limit or (x == b).any() else end)) / 2
    return area / limit


def _last_of_each(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    unique = np.unique(x)
    return unique, np.array([y[x == value].max() for value in unique])


def test_aupro_agrees_with_its_definition() -> None:
    rng = np.random.default_rng(3)
    for _ in range(6):
        labels, maps = [], []
        for _ in range(2):
            label = np.zeros((14, 18), np.float32)
            for _ in range(int(rng.integers(0, 4))):
                y, x = rng.integers(0, 12, 2)
                label[y : y + int(rng.integers(1, 5)), x : x + int(rng.integers(1, 9))] = 1
            labels.append(label)
            maps.append((rng.normal(0, 1, label.shape) + 1.5 * label).astype(np.float32))
        if any(label.any() for label in labels):
            assert aupro(maps, labels, stride=1) == pytest.approx(threshold_by_threshold(maps, labels, 0.3), abs=5e-3)


def test_aupro_of_a_perfect_map_is_one_and_counts_regions_not_pixels() -> None:
    label = np.zeros((40, 40), np.float32)
    label[2:4, 2:4] = label[10:30, 10:30] = 1
    assert aupro([label.copy()], [label], stride=1) == pytest.approx(1.0)
    only_small = np.where(np.arange(40)[:, None] < 5, label, 0).astype(np.float32)
    # Found: one of two regions; the other is level with the background, so that its overlap rises as the false positives do.
    assert 0.5 < aupro([only_small], [label], stride=1) < 0.66
    assert aupro([label], [np.zeros_like(label)], stride=1) == 0.0
