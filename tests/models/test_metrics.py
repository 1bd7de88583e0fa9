"""Figures of merit against a second implementation and against published properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom
from sklearn.metrics import average_precision_score, roc_auc_score

from data.errors import BadBatch
from models.calibrate import calibrate
from models.metrics import auroc, average_precision, rate


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
    assert not calibrate(rng.gamma(1.5, size=n), target).extrapolated


def test_too_few_for_the_target_says_so_and_extrapolates_a_normal_tail() -> None:
    rng = np.random.default_rng(0)
    result = calibrate(rng.normal(size=12), 0.01)
    assert result.extrapolated and result.promised == pytest.approx(1 / 13)
    assert "7.7%" in result.guarantee and "99 calibration images" in result.guarantee
    overkill = [np.mean(rng.normal(size=2000) > calibrate(rng.normal(size=12), 0.01).threshold) for _ in range(400)]
    assert np.mean(overkill) == pytest.approx(0.01, abs=0.004)


@pytest.mark.parametrize("scores", [[], [1.0], [1.0, float("nan")]])
def test_unusable_calibration_scores_are_refused(scores: list[float]) -> None:
    with pytest.raises(BadBatch, match="too few"):
        calibrate(scores, 0.01)
