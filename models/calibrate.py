"""The threshold: from the scores of held-out good images and an overkill target, with what that many images can promise."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from data.errors import BadBatch


@dataclass(frozen=True)
class Calibration:
    """``threshold``: a part is rejected above it. ``promised``: overkill that holds in expectation without any assumption on the
    scores. ``extrapolated``: whether the threshold lies beyond what ``n`` images can support without assuming a normal tail."""

    threshold: float
    n: int
    target: float
    promised: float
    extrapolated: bool

    @property
    def guarantee(self) -> str:
        """What it promises, for QA, where calibration images are of parts that nothing else of training has seen."""
        if not self.extrapolated:
            return (
                f"{self.n} calibration images promise an overkill of at most {self.promised:.1%} on average, "
                f"as long as new good parts look like this batch (split-conformal bound)."
            )
        needed = math.ceil(1 / self.target) - 1
        return (
            f"{self.n} calibration images alone can promise an overkill of at most {self.promised:.1%} on average "
            f"(split-conformal bound); "
            f"the target of {self.target:.1%} rests on the assumption that good scores have a normal tail. "
            f"{needed} calibration images would promise it without."
        )


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


def calibrate(scores: ArrayLike, target: float) -> Calibration:
    """Threshold for an expected overkill of at most ``target`` (0..1) from good ``scores``; BadBatch on fewer than two.

    Split-conformal (Vovk 2005): the ``ceil((n + 1)(1 - target))``-th smallest score is exceeded by a new exchangeable score
    with probability
    at most ``target``. Where n is too small for that rank to exist, the largest score is exceeded with probability at most
    1 / (n + 1) only; the threshold then is the normal-theory upper prediction limit of one future score
    (``mean + t(n - 1, 1 - target) * s * sqrt(1 + 1/n)``), or the largest score if that is higher.
    """
    values = np.sort(np.asarray(scores, np.float64).ravel())
    n = len(values)
    if n < 2 or not np.isfinite(values).all():
        raise BadBatch(
            f"{n} usable calibration scores are too few for a threshold; at least 2 finite ones are needed: add good images"
        )
    rank = math.ceil((n + 1) * (1.0 - target) - 1e-9)
    if rank <= n:
        return Calibration(float(values[rank - 1]), n, target, 1.0 - rank / (n + 1), False)
    from scipy.stats import t

    limit = values.mean() + float(t.ppf(1.0 - target, n - 1)) * values.std(ddof=1) * math.sqrt(1.0 + 1.0 / n)
    return Calibration(float(max(values[-1], limit)), n, target, 1.0 / (n + 1), True)
