"""Figures of merit, each a plain function on arrays."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counted half (Mann-Whitney U).

    ``labels``: 0 or 1; NaN-free ``scores`` of any range. 0.5 if only one class is present.
    """
    truth, values = np.asarray(labels).ravel() > 0, np.asarray(scores, np.float64).ravel()
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        return 0.5
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    ends = np.r_[starts[1:], len(ranked)]
    ranks = np.empty(len(values))
    ranks[order] = np.repeat((starts + ends + 1) / 2.0, ends - starts)  # mean rank of each tie, from 1
    return float((ranks[truth].sum() - positives * (positives + 1) / 2.0) / (positives * negatives))


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Sum over thresholds of precision times the gain in recall (no interpolation); 0 if nothing is positive."""
    truth, values = np.asarray(labels).ravel() > 0, np.asarray(scores).ravel()
    positives = int(truth.sum())
    if not positives:
        return 0.0
    order = np.argsort(-values, kind="stable")
    values, truth = values[order], truth[order]
    ends = np.flatnonzero(np.r_[values[1:] != values[:-1], True])  # last of each tie
    hits = np.cumsum(truth)[ends]
    return float((hits / (ends + 1.0) * np.diff(np.r_[0, hits])).sum() / positives)


@dataclass(frozen=True)
class Rate:
    """``count`` of ``n``, with its two-sided 95 % Clopper-Pearson interval ``low`` to ``high``."""

    count: int
    n: int
    rate: float
    low: float
    high: float

    def as_dict(self) -> dict[str, Any]:
        """As it stands in ``metrics.json``."""
        return asdict(self)


def rate(count: int, n: int, confidence: float = 0.95) -> Rate:
    """A binomial proportion with exact bounds (Clopper and Pearson 1934); with ``n`` = 0 it is 0 within 0..1."""
    from scipy.stats import beta

    if n == 0:
        return Rate(0, 0, 0.0, 0.0, 1.0)
    tail = (1.0 - confidence) / 2.0
    low = 0.0 if count == 0 else float(beta.ppf(tail, count, n - count + 1))
    high = 1.0 if count == n else float(beta.ppf(1.0 - tail, count + 1, n - count))
    return Rate(count, n, count / n, low, high)


def pooled(
    maps: list[NDArray[np.float32]], labels: list[NDArray[np.floating]], stride: int = 2
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Pixels of all images as (truth, score), every ``stride``-th row and column; a label counts from one half."""
    truth = np.concatenate([(label[::stride, ::stride] > 0.5).ravel() for label in labels])
    return truth, np.concatenate([m[::stride, ::stride].ravel() for m in maps])
