"""Scores of good images and of pseudo-defects over one axis, with the threshold: what it rejects and what it lets pass."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from models.report.charts import Axis, line, svg, text, tick_text
from models.report.wording import number_text

BINS = 48
RUG_LIMIT = 150  # beyond this many scores single ticks merge into a block
TOP, BAND = 40, 64  # heights in the drawing


@dataclass(frozen=True)
class Shape:
    """Of the drawing: its width, where bars begin and end, the height of a row; words stand beside the bars, or above them."""

    width: int
    left: int
    right: int
    row: int
    words_above: bool


BROAD = Shape(960, 212, 820, 104, words_above=False)
NARROW = Shape(460, 4, 456, 144, words_above=True)
"""For telephones, where a broad drawing's words cannot be read."""


@dataclass(frozen=True)
class Row:
    """One row of the chart: what the scores are, in a name and a remark, and the scores."""

    name: str
    remark: str
    scores: tuple[float, ...]


def logarithmic(scores: NDArray[np.float64], threshold: float) -> bool:
    """True where all values are positive and span more than a factor of 50: a linear axis would squash the good images."""
    values = np.append(scores, threshold)
    return bool(values.min() > 0 and values.max() > 50 * values.min())


def bin_edges(scores: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    """Edges of about BINS bins over all scores, the threshold among them: no bar mixes passed and rejected images."""
    log = logarithmic(scores, threshold)
    values = np.append(scores, threshold)
    low, high = (np.log(values.min()), np.log(values.max())) if log else (values.min(), values.max())
    middle = np.log(threshold) if log else threshold
    width = (high - low) / BINS or max(abs(middle), 1.0) / BINS
    below = int(np.ceil((middle - low) / width - 1e-9)) + 1
    above = int(np.ceil((high - middle) / width - 1e-9)) + 1
    edges = middle + width * np.arange(-below, above + 1)
    edges = np.exp(edges) if log else edges
    edges[below] = threshold  # exact, so that a score equal to the threshold falls into the bar below it
    return np.asarray(edges, np.float64)


def counts(scores: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """Scores in each half-open bin (edge, next edge]: a score equal to the threshold is passed, as the inspector does it."""
    return np.histogram(-scores, -edges[::-1])[0][::-1].astype(np.int64)


def score_histogram(rows: Sequence[Row], threshold: float, shape: Shape = BROAD) -> Markup:
    """Rows of bars over one axis, each scaled to its own tallest bar, single scores as ticks below, counts at the right."""
    rows = [Row(row.name, row.remark, tuple(s for s in row.scores if np.isfinite(s))) for row in rows]
    everything = np.array([score for row in rows for score in row.scores], np.float64)
    edges = bin_edges(everything, threshold)
    x = Axis(float(edges[0]), float(edges[-1]), shape.left, shape.right, logarithmic(everything, threshold))
    bottom = TOP + shape.row * len(rows)
    cut = x(threshold)
    parts = [
        Markup('<rect class="rejected" x="{:.1f}" y="{}" width="{:.1f}" height="{}"/>').format(
            cut, TOP, shape.right - cut, bottom - TOP
        )
    ]
    for index, row in enumerate(rows):
        parts += _row(row, edges, x, TOP + shape.row * index, threshold, shape)
    parts.append(line(cut, TOP - 8, cut, bottom, "threshold"))
    side, at = ("start", cut) if cut < (shape.left + shape.right) / 2 else ("end", cut)
    if shape.words_above:  # there is no room on one side of the line
        side, at = "start", shape.left
    parts.append(text(at, TOP - 16, f"threshold {number_text(threshold)}: above it, a part is rejected", "strong", side))
    parts += [text(x(tick), bottom + 20, tick_text(tick), "tick", "middle") for tick in x.ticks()]
    unit = "score, logarithmic" if x.logarithmic else "score"
    if shape.words_above:
        parts.append(text(shape.right, bottom + 40, unit, "name", "end"))
    else:
        parts.append(text(shape.right + 14, bottom + 20, unit, "name"))
    summary = "; ".join(f"{row.name}: {sum(s > threshold for s in row.scores)} of {len(row.scores)} above" for row in rows)
    return svg(
        shape.width,
        bottom + (50 if shape.words_above else 30),
        f"Scores and threshold {number_text(threshold)}. {summary}",
        parts,
    )


def _row(row: Row, edges: NDArray[np.float64], x: Axis, top: float, threshold: float, shape: Shape) -> list[Markup]:
    """One row: its name, bars, ticks and how many lie above the threshold."""
    scores = np.array(row.scores, np.float64)
    tally = counts(scores, edges)
    base = top + shape.row - 30
    tallest = max(int(tally.max(initial=0)), 1)
    upper, lower = (top + 18, top + 36) if shape.words_above else (base - 34, base - 15)
    place, anchor = (shape.right - 4, "end") if shape.words_above else (shape.right + 14, "start")
    parts = [
        text(shape.left if shape.words_above else 0, upper, row.name, "strong"),
        text(shape.left if shape.words_above else 0, lower, row.remark, "name"),
        line(shape.left, base, shape.right, base, "axis"),
    ]
    column = Markup(
        '<rect class="column" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" data-count="{}"><title>{}</title></rect>'
    )
    for low, high, n in zip(edges[:-1], edges[1:], tally, strict=True):
        if n:
            height = max(BAND * n / tallest, 2.0)
            words = f"{n} with scores from {number_text(low)} to {number_text(high)}"
            parts.append(column.format(x(low) + 0.5, base - height, max(x(high) - x(low) - 1, 1.0), height, n, words))
    if len(scores) <= RUG_LIMIT:
        parts += [line(x(float(s)), base + 4, x(float(s)), base + 12, "rug") for s in np.sort(scores)]
    above = int((scores > threshold).sum())
    labels = text(place, upper, f"{above} of {len(scores)}", "strong", anchor), text(place, lower, "rejected", "name", anchor)
    return [*parts, *labels]
