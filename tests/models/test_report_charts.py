"""The report's charts show the numbers they are given."""

import re

import numpy as np
import pytest

from models.evaluation.rate import Rate
from models.report.charts import Axis, bar, interval, learning_chart, schedule_chart, trials_chart
from models.report.histogram import BROAD, NARROW, Row, bin_edges, counts, logarithmic, score_histogram
from models.report.wording import bounds, duration_text, flat, number_text, percent_text

SAMPLES = {
    "linear": (np.random.default_rng(1).normal(1, 0.3, 300), 1.7),
    "logarithmic": (np.random.default_rng(2).lognormal(0, 2, 300), 4.0),
    "negative": (np.random.default_rng(3).normal(-5, 2, 50), -4.0),
    "one score": (np.array([0.3]), 0.3),
    "all on the threshold": (np.full(9, 0.25), 0.25),
    "threshold far away": (np.linspace(0, 1, 20), 7.0),
    "nothing": (np.array([]), 0.5),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_histogram_counts_equal_numpys(name: str) -> None:
    scores, threshold = SAMPLES[name]
    edges = bin_edges(scores, threshold)
    assert threshold in edges
    tally = counts(scores, edges)
    assert tally.sum() == len(scores)
    drawn, narrow = (str(score_histogram([Row("good", "", tuple(scores))], threshold, shape)) for shape in (BROAD, NARROW))
    for drawing in (drawn, narrow):
        assert [int(n) for n in re.findall(r'data-count="(\d+)"', drawing)] == [n for n in tally if n]
    off_edge = scores + 1e-12 * np.abs(scores)  # numpy's bins hold their lower edge, ours the upper one
    if not np.isin(scores, edges).any():
        assert (tally == np.histogram(off_edge, edges)[0]).all()
    above = int((scores > threshold).sum())
    assert tally[np.flatnonzero(edges == threshold)[0] :].sum() == above
    assert f">{above} of {len(scores)}<" in drawn


def test_score_equal_to_the_threshold_is_drawn_as_passed() -> None:
    edges = bin_edges(np.array([0.1, 0.5, 0.9]), 0.5)
    place = int(np.flatnonzero(edges == 0.5)[0])
    assert counts(np.array([0.5]), edges)[place - 1] == 1


def test_axis_is_logarithmic_only_where_it_must_be() -> None:
    assert logarithmic(np.array([0.01, 3.0]), 0.5)
    assert not logarithmic(np.array([0.2, 3.0]), 0.5)
    assert not logarithmic(np.array([-1.0, 300.0]), 0.5)


@pytest.mark.parametrize("axis", [Axis(0, 1, 0, 100), Axis(-3.2, 17.9, 50, 400), Axis(0.002, 40, 0, 10, True), Axis(2, 2, 0, 1)])
def test_ticks_lie_inside_the_axis(axis: Axis) -> None:
    ticks = axis.ticks()
    assert ticks == sorted(ticks)
    assert 1 <= len(ticks) <= 16
    assert all(axis.start - 1e-6 <= axis(tick) <= axis.end + 1e-6 for tick in ticks)


def test_interval_spans_the_bounds() -> None:
    drawn = str(interval(Rate(1, 25, 0.04, 0.01, 0.08), 0.1, 0.02))
    low, high = re.search(r'<line x1="([\d.]+)" y1="[\d.]+" x2="([\d.]+)" y2="[\d.]+" class="range"', drawn).groups()  # type: ignore[union-attr]
    assert float(high) - float(low) == pytest.approx(0.7 * (376 - 20), abs=0.2)


def test_charts_of_nothing_are_empty_and_single_points_do_not_fail() -> None:
    assert trials_chart([]) == learning_chart([], "step") == bar(None) == ""
    assert trials_chart([{"number": 0, "value": None}]) == ""
    assert "1 finished trials" in trials_chart([{"number": 3, "value": 0.5}])
    assert re.findall(r'text-anchor="middle">(.*?)<', trials_chart([{"number": 3, "value": 0.5}])) == ["3"]  # no trial 2.8
    assert "nan" not in learning_chart([(0, 1.0)], "step") + learning_chart([(0, 0.0), (1, 0.0)], "step") + schedule_chart(
        [(0, 0, 1)]
    )


def test_long_learning_curves_are_thinned() -> None:
    drawn = str(learning_chart([(float(i), 1 / (i + 1)) for i in range(50_000)], "step"))
    assert len(drawn) < 20_000


@pytest.mark.parametrize(
    ("rate", "words"),
    [(0, "0 %"), (1, "100 %"), (0.01, "1 %"), (0.0119, "1.2 %"), (0.0042, "0.42 %"), (0.9999, "> 99.9 %"), (1e-6, "< 0.01 %"),
     (0.57, "57 %"), (None, "not measured"), (float("nan"), "not measured")],
)  # fmt: skip
def test_percent(rate: float | None, words: str) -> None:
    assert percent_text(rate).replace("\u00a0", " ") == words


def test_numbers_and_durations_in_words() -> None:
    assert [number_text(v).replace("\u00a0", " ") for v in (0.41234, 12345, 1234.5, 3, 0.5, None)] == [
        "0.412", "12 345", "1 234", "3", "0.5", "not measured",
    ]  # fmt: skip
    assert [duration_text(s).replace("\u00a0", " ") for s in (0.84, 42, 252, 3780)] == [
        "0.8 s",
        "42 s",
        "4 min 12 s",
        "1 h 3 min",
    ]
    assert "to" in bounds(Rate(3, 20, 0.15, 0.1, 0.2))


def test_settings_become_lines() -> None:
    nested = {"a": {"b": 1, "c": [1, 2]}, "d": None, "runs": [{"x": 1}], "losses": [[1, 2], [3, 4]], "long": list(range(40))}
    lines = dict(flat(nested))
    assert lines["a.b"] == 1
    assert lines["a.c"] == "1, 2"
    assert lines["d"] == "–"
    assert lines["runs.1.x"] == 1
    assert lines["losses"] == "2 entries"
    assert lines["long"].endswith("(40 in all)")
