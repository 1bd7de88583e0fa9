"""The threshold: from the scores of held-out good images and an overkill target, with what that many images can promise."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv

from core.errors import BadBatch

_USUALLY = 19 / 20


@dataclass(frozen=True)
class Calibration:
    """``threshold``: a part is rejected above it. ``wish``: the overkill that was asked for. ``promised``: the overkill that
    holds on average without any assumption on the scores; larger than the wish where ``n`` images of ``parts`` parts cannot
    promise as little."""

    threshold: float
    n: int
    wish: float
    promised: float
    parts: int

    @property
    def target(self) -> float:
        """What overkill is measured against: the larger of what was asked for and what can be promised."""
        return max(self.wish, self.promised)

    @property
    def usually(self) -> float:
        """The overkill that the threshold stays below in 19 of 20 batches.

        Over batches, the overkill of the k-th largest of n scores as threshold is distributed as Beta(k, n + 1 - k), where scores
        are continuous (Vovk 2012, arXiv 1209.2673, prop. 2a). Here n counts parts, and ``promised`` is k / (n + 1).
        """
        k = self.promised * (self.parts + 1)
        return float(betaincinv(k, self.parts + 1 - k, _USUALLY))

    @property
    def guarantee(self) -> str:
        """What it promises, for QA, where calibration images are of parts that nothing else of training has seen."""
        images = f"{self.n} calibration images"
        if self.parts < self.n:
            images += f" of {self.parts} parts"
        text = (
            f"{images} promise an overkill of at most {self.promised:.1%} on average, and of at most {self.usually:.1%} in 19 of "
            f"20 such batches, as long as new good parts look like this batch (split-conformal bound)."
        )
        if self.promised <= self.wish:
            return text
        wanted = "calibration images" if self.parts == self.n else "parts among the calibration images"
        return (
            f"{text} The wish of {self.wish:.1%} takes {needed(self.wish)} {wanted}; until then the threshold is the largest "
            "score of those that there are."
        )


def needed(target: float) -> int:
    """Parts, with an image or more each, that can promise an overkill of ``target``."""
    return math.ceil(1.0 / target - 1e-9) - 1


@dataclass(frozen=True)
class Crossing:
    """Where the split could not keep parts apart: how many images of ``calibrate``, which gave the threshold, and of ``test``, on
    which overkill was counted, show parts that training has seen. ``in_order``: split by time instead of by part."""

    calibrate: int = 0
    test: int = 0
    in_order: bool = False

    def qualify(self, guarantee: str, calibrated: int, tested: int) -> str:
        """``guarantee``, and before it what weakens it; ``calibrated`` and ``tested``: all images of each."""
        if self.calibrate or self.test:
            return (
                f"No promise for parts other than these: {self.calibrate} of {calibrated} calibration images, and {self.test} of "
                f"{tested} that overkill was counted on, show parts that training has seen, so that overkill may be higher than "
                f"it looks. Deliver images of more parts. For parts that it has seen: {guarantee}"
            )
        if self.in_order:
            return (
                "The images were split in order of capture, so that what follows holds only if nothing changed in that time. "
                f"{guarantee}"
            )
        return guarantee


def calibrate(scores: ArrayLike, wish: float, parts: Sequence[str] | None = None) -> Calibration:
    """Threshold for an expected overkill of at most ``wish`` (0..1) from good ``scores``; BadBatch on fewer than two. ``parts``:
    the physical part that each is of, None for one each.

    Split-conformal (Vovk 2005; see ``promises``): the smallest score that promises ``wish`` or less. Where n is too small for
    that, the threshold is the largest score: fewer images promise less, and nothing is extrapolated from them. A tail that was
    assumed instead put the threshold so high that most real defects passed.
    """
    values = np.asarray(scores, np.float64).ravel()
    n = len(values)
    if n < 2 or not np.isfinite(values).all():
        raise BadBatch(
            f"{n} usable calibration scores are too few for a threshold; at least 2 finite ones are needed: add good images"
        )
    thresholds, promised = promises(values, parts)
    chosen = max(int(np.sum(promised <= wish + 1e-9)), 1) - 1
    count = n if parts is None else len(set(parts))
    return Calibration(float(thresholds[chosen]), n, wish, float(promised[chosen]), count)


def promises(scores: ArrayLike, parts: Sequence[str] | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Good ``scores``, the largest first, and the overkill that each of them promises as a threshold.

    A new good part's score exceeds the k-th largest of n in at most k of n + 1 cases on average. Several images of one part are
    not independent and count as one: each of m parts weighs 1 / (m + 1), shared evenly among its images. A threshold promises 1
    / (m + 1) plus the weights of all higher scores (hierarchical conformal prediction: Lee, Barber and Willett 2023, arXiv
    2306.06342).
    """
    values = np.asarray(scores, np.float64).ravel()
    _, which = np.unique(np.arange(len(values)) if parts is None else np.asarray(parts, dtype=str), return_inverse=True)
    images = np.bincount(which)
    order = np.argsort(-values, kind="stable")
    weights = 1.0 / images[which[order]]
    above = np.cumsum(weights) - weights
    return values[order], (1.0 + above) / (len(images) + 1)
