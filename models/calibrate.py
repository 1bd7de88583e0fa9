"""The threshold: from the scores of held-out good images and an overkill target, with what that many images can promise."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from data.errors import BadBatch


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
    def guarantee(self) -> str:
        """What it promises, for QA, where calibration images are of parts that nothing else of training has seen."""
        images = f"{self.n} calibration images"
        if self.parts < self.n:
            images += f" of {self.parts} parts"
        text = (
            f"{images} promise an overkill of at most {self.promised:.1%} on average, "
            f"as long as new good parts look like this batch (split-conformal bound)."
        )
        if self.promised <= self.wish:
            return text
        alone = self.parts == self.n
        wanted = f"{needed(self.wish)} calibration images" if alone else f"calibration images of {needed(self.wish)} parts"
        until = "the threshold is the largest score of those that there are" if alone else "no less can be promised"
        return f"{text} The wish of {self.wish:.1%} takes {wanted}; until then {until}."


def needed(target: float) -> int:
    """Calibration images that can promise an overkill of ``target``."""
    return math.ceil(1.0 / target - 1e-9) - 1


@dataclass(frozen=True)
class Crossing:
    """Where the split could not keep parts apart: how many images of ``calibrate``, which gave the threshold, and of ``lock``, on
    which overkill was counted, show parts that training has seen. ``in_order``: split by time instead of by part."""

    calibrate: int = 0
    lock: int = 0
    in_order: bool = False

    def qualify(self, guarantee: str, calibrated: int, locked: int) -> str:
        """``guarantee`` with what takes away from it, which comes first; ``calibrated`` and ``locked``: all images of each."""
        if self.calibrate or self.lock:
            return (
                f"No promise for parts other than these: {self.calibrate} of {calibrated} calibration images, and {self.lock} of "
                f"{locked} that overkill was counted on, show parts that training has seen, so that overkill may be higher than "
                f"it looks. Deliver images of more parts. For parts that it has seen: {guarantee}"
            )
        if self.in_order:
            return (
                "The images were split in order of capture, so that what follows holds only if nothing changed in that time. "
                f"{guarantee}"
            )
        return guarantee


def calibrate(scores: ArrayLike, wish: float, parts: int | None = None) -> Calibration:
    """Threshold for an expected overkill of at most ``wish`` (0..1) from good ``scores``; BadBatch on fewer than two. ``parts``:
    how many physical parts they are of, None for one each.

    Split-conformal (Vovk 2005): the ``ceil((n + 1)(1 - wish))``-th smallest score is exceeded by a new exchangeable score with
    probability at most ``wish``. Where n is too small for that rank to exist, the threshold is the largest score, which is
    exceeded with probability at most 1 / (n + 1): fewer images promise less, and nothing is extrapolated from them. A tail that
    was assumed instead put the threshold so high that most real defects passed.

    Several images of one part are not exchangeable with one of a new part: a new part is stranger than m parts in one of m + 1
    cases, however many images there are of each, so no less is promised (``benchmarks/threshold_promise.py``).
    """
    values = np.sort(np.asarray(scores, np.float64).ravel())
    n = len(values)
    if n < 2 or not np.isfinite(values).all():
        raise BadBatch(
            f"{n} usable calibration scores are too few for a threshold; at least 2 finite ones are needed: add good images"
        )
    rank = min(math.ceil((n + 1) * (1.0 - wish) - 1e-9), n)
    parts = n if parts is None else parts
    return Calibration(float(values[rank - 1]), n, wish, promise(n + 1 - rank, n, parts), parts)


def promise(above: int, n: int, parts: int) -> float:
    """The overkill that holds on average for the ``above``-th largest of ``n`` scores of ``parts`` parts."""
    return max(above / (n + 1), 1.0 / (parts + 1))
