"""Figures of merit, each a plain function on arrays."""

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
    if not truth.any():
        return 0.0
    levels, gains = np.unique(values[truth], return_counts=True)
    # Only how many negatives reach each positive's score counts: placing them is several times as fast as sorting them.
    others = values[~truth]
    others = others[others >= levels[0]]
    reached = np.bincount(np.searchsorted(levels, others, side="right") - 1, minlength=len(levels))
    hits, alarms = np.cumsum(gains[::-1]), np.cumsum(reached[::-1])
    return float((hits / (hits + alarms) * gains[::-1]).sum() / truth.sum())


def f1_max(labels: ArrayLike, scores: ArrayLike) -> tuple[float, float]:
    """The largest F1 over all thresholds, and the score at which it is reached (at or above it is positive); (0, inf) if nothing
    is positive."""
    truth, values = np.asarray(labels).ravel() > 0, np.asarray(scores, np.float64).ravel()
    positives = int(truth.sum())
    if not positives:
        return 0.0, float("inf")
    order = np.argsort(-values, kind="stable")
    values, truth = values[order], truth[order]
    ends = np.flatnonzero(np.r_[values[1:] != values[:-1], True])
    f1 = 2.0 * np.cumsum(truth)[ends] / (ends + 1.0 + positives)
    best = int(f1.argmax())
    return float(f1[best]), float(values[ends[best]])


def aupro(maps: list[NDArray[np.float32]], labels: list[NDArray[np.floating]], limit: float = 0.3, stride: int = 2) -> float:
    """Area under the per-region overlap curve up to a false positive rate of ``limit``, divided by it (Bergmann 2020): 0..1.

    Each connected region (8 neighbours) of a label (over one half) counts alike, however large; false positives are pixels
    outside all labels. Maps and labels (H, W) are taken every ``stride``-th row and column. 0 if there is no region.
    """
    import cv2

    scores, weights, regions = [], [], 0
    for anomaly, label in zip(maps, labels, strict=True):
        truth = np.ascontiguousarray(label[::stride, ::stride] > 0.5)
        count, marks = cv2.connectedComponents(truth.astype(np.uint8), connectivity=8)
        sizes = np.bincount(marks.ravel(), minlength=count).astype(np.float64)
        share = np.r_[0.0, 1.0 / np.maximum(sizes[1:], 1.0)]
        regions += count - 1
        scores.append(anomaly[::stride, ::stride].ravel())
        weights.append(share[marks].ravel())
    if not regions:
        return 0.0
    values, weight = np.concatenate(scores), np.concatenate(weights)
    order = np.argsort(-values, kind="stable")
    values, weight = values[order], weight[order]
    ends = np.flatnonzero(np.r_[values[1:] != values[:-1], True])
    outside = weight == 0
    overlap = np.r_[0.0, np.cumsum(weight)[ends] / regions]
    false = np.r_[0.0, np.cumsum(outside)[ends] / max(int(outside.sum()), 1)]
    inside = int(np.searchsorted(false, limit, side="right"))
    at_limit = float(np.interp(limit, false, overlap))
    x, y = np.r_[false[:inside], limit], np.r_[overlap[:inside], at_limit]
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2.0) / limit)


def pooled(
    maps: list[NDArray[np.float32]], labels: list[NDArray[np.floating]], stride: int = 2
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Pixels of all images as (truth, score), every ``stride``-th row and column; a label counts from one half."""
    truth = np.concatenate([(label[::stride, ::stride] > 0.5).ravel() for label in labels])
    return truth, np.concatenate([m[::stride, ::stride].ravel() for m in maps])
