"""Overkill against escape: what other thresholds would have given, for QA and the process engineer to choose from."""

from collections.abc import Sequence

import numpy as np

from models.evaluation.metrics_file import Choice
from models.evaluation.rate import rate, rate_over_sources
from models.inspection.calibration import promises

MOST = 24
"""Thresholds at most."""


def remedy(product: str, calibrate: Sequence[float], parts: Sequence[str], defects: Sequence[float], most: float) -> str:
    """A remedy in words, where more than a share ``most`` of ``defects`` (scores) pass: the overkill target of ``product`` that
    would stop them, if one below a half does. ``calibrate`` and ``parts`` are those of ``trade_off``."""
    thresholds, promised = promises(calibrate, parts)
    found = np.asarray(defects, np.float64)
    for threshold, promise in zip(thresholds.tolist(), promised.tolist(), strict=True):
        pass_on = int(np.sum(found <= threshold))
        target = np.ceil(1000 * promise - 1e-6) / 1000
        if target < 0.5 and pass_on <= most * len(found):
            return (
                f"an overkill target of {target:.1%} would let {pass_on} pass: 'changeover recalibrate {product} VERSION "
                f"--overkill {target:.1%}'; good images of more parts may make that needless"
            )
    return "no overkill target below 50% would do: good images of more parts, or more time to train, are what can help"


def trade_off(
    calibrate: Sequence[float], parts: Sequence[str], good: Sequence[float], defects: Sequence[float], sources: Sequence[str]
) -> list[Choice]:
    """At most 24 choices, from the smallest overkill that ``calibrate`` scores of ``parts`` can promise up to one half.

    ``good``: scores of test images; ``defects``: of exam defects, each drawn on the image that ``sources`` names.
    """
    thresholds, promised = promises(calibrate, parts)
    ranks = np.unique(np.round(np.geomspace(1, max(int(np.sum(promised <= 0.5)), 1), MOST)).astype(int)) - 1
    found = np.asarray(defects, np.float64)
    return [
        Choice(
            float(thresholds[k]),
            float(promised[k]),
            rate(int(np.sum(np.asarray(good) > thresholds[k])), len(good)),
            rate_over_sources((found <= thresholds[k]).tolist(), sources),
        )
        for k in ranks.tolist()
    ]
