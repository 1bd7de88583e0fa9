"""Thresholds that could be chosen, and bounds of cases that come from few images."""

import numpy as np
import pytest
from scipy.stats import beta

from models.evaluation.rate import rate, rate_over_sources
from models.evaluation.trade_off import MOST, remedy, trade_off
from models.inspection.calibration import calibrate


def test_every_choice_is_what_calibration_would_have_given_for_that_wish() -> None:
    rng = np.random.default_rng(0)
    scores, good, bad = rng.normal(size=100), rng.normal(size=40).tolist(), (rng.normal(size=80) + 2).tolist()
    sources = [f"{n % 10}.png" for n in range(80)]
    choices = trade_off(scores.tolist(), [str(n) for n in range(100)], good, bad, sources)
    assert len(choices) <= MOST
    assert choices[0].promised == pytest.approx(1 / 101) and choices[-1].promised == pytest.approx(50 / 101)
    for choice in choices:
        chosen = calibrate(scores, choice.promised)
        assert (chosen.threshold, chosen.promised) == pytest.approx((choice.threshold, choice.promised))
        assert choice.overkill == rate(sum(g > choice.threshold for g in good), 40)
        assert choice.escape.count == sum(b <= choice.threshold for b in bad)
    assert [c.promised for c in choices] == sorted({c.promised for c in choices})
    assert [c.escape.count for c in choices] == sorted((c.escape.count for c in choices), reverse=True)


def test_where_too_many_defects_pass_the_least_overkill_that_holds_them_is_named() -> None:
    good, parts = [0.0, 0.1, 0.2, 0.3, 3.0, 4.0], list("abcdef")
    defects = [1.0] * 8 + [3.5, 5.0]
    # At the largest good score, 4, nine pass; at 3, eight; at .3 none, which promises three of seven.
    assert remedy("bolt", good, parts, defects, 0.2) == (
        "an overkill target of 42.9% would let 0 pass: 'changeover recalibrate bolt VERSION --overkill 42.9%'; "
        "good images of more parts may make that needless"
    )
    assert calibrate(good, 0.429).threshold == 0.3
    assert "an overkill target of 14.3% would let 9 pass" in remedy("bolt", good, parts, defects, 0.9)
    assert remedy("bolt", good, parts, [-1.0] * 4, 0.2).startswith("no overkill target below 50% would do")


def test_two_calibration_images_leave_one_choice() -> None:
    (only,) = trade_off([1.0, 3.0], ["p", "q"], [0.5], [2.0, 4.0], ["a", "b"])
    assert (only.threshold, only.promised, only.escape.count) == (3.0, pytest.approx(1 / 3), 1)


def test_no_threshold_promises_less_than_the_parts_can() -> None:
    choices = trade_off(list(range(40)), [str(n % 4) for n in range(40)], [1.0], [50.0, 3.0], ["a", "b"])
    assert min(c.promised for c in choices) == pytest.approx(1 / 5)
    assert choices[-1].promised == pytest.approx(0.5)  # 1/5 for the new part, and 15 images of 1/50 each above it


def test_independent_cases_keep_their_exact_bounds() -> None:
    hits = [n % 4 == 0 for n in range(60)]
    found, exact = rate_over_sources(hits, [str(n) for n in range(60)]), rate(15, 60)
    # The quantiles of a bootstrap of independent cases are those of a binomial, give or take a case.
    assert found.low == pytest.approx(exact.low, abs=0.02) and found.high == pytest.approx(exact.high, abs=0.02)
    assert found.low <= exact.low and found.high >= exact.high
    assert exact.low == pytest.approx(float(beta.ppf(0.025, 15, 46)))


def test_cases_of_few_images_say_less_than_their_number() -> None:
    """All defects on three of ten images pass: what varies is which images there are, not which defects."""
    hits = [n % 10 < 3 for n in range(200)]
    found, exact = rate_over_sources(hits, [str(n % 10) for n in range(200)]), rate(60, 200)
    assert (found.count, found.n, found.rate) == (exact.count, exact.n, exact.rate)
    # The bootstrap's count of such images is binomial (10, .3): its 2.5 % and 97.5 % quantiles are 0 (2.8 % are 0) and 6.
    assert found.low == pytest.approx(0.1, abs=0.11) and found.low < exact.low
    assert found.high == pytest.approx(0.6, abs=0.01)
    assert found == rate_over_sources(hits, [str(n % 10) for n in range(200)])


def test_one_image_or_none_gives_the_exact_bounds() -> None:
    assert rate_over_sources([True, False], ["a", "a"]) == rate(1, 2)
    assert rate_over_sources([], []) == rate(0, 0)
