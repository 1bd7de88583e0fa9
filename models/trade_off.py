"""Overkill against escape: what other thresholds would have given, for QA and the process engineer to choose from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.calibrate import promise
from models.metrics import Rate, rate, rate_over_sources

MOST = 24
"""Thresholds at most."""


@dataclass(frozen=True)
class Choice:
    """One threshold that could be chosen. ``promised``: the overkill that it promises (see ``models.calibrate``). ``overkill``:
    counted on lock images; ``escape``: on exam defects."""

    threshold: float
    promised: float
    overkill: Rate
    escape: Rate

    def as_dict(self) -> dict[str, Any]:
        """As it stands in ``metrics.json``."""
        return {
            "threshold": self.threshold, "promised": self.promised,
            "overkill": self.overkill.as_dict(), "escape": self.escape.as_dict(),
        }  # fmt: skip


def trade_off(
    calibrate: Sequence[float], good: Sequence[float], defects: Sequence[float], sources: Sequence[str], parts: int
) -> list[Choice]:
    """At most 24 choices, from the smallest overkill that ``calibrate`` scores can promise up to one half.

    ``good``: scores of lock images; ``defects``: of exam defects, each drawn on the image that ``sources`` names. The k-th
    largest of n calibration scores is exceeded by a new good part in k of n + 1 cases on average, as far as they are of as many
    ``parts``.
    """
    values = np.sort(np.asarray(calibrate, np.float64))[::-1]
    n = len(values)
    ranks = np.unique(np.round(np.geomspace(1, max((n + 1) // 2, 1), MOST)).astype(int))
    found = np.asarray(defects, np.float64)
    return [
        Choice(
            float(values[k - 1]),
            promise(k, n, parts),
            rate(int(np.sum(np.asarray(good) > values[k - 1])), len(good)),
            rate_over_sources((found <= values[k - 1]).tolist(), sources),
        )
        for k in ranks.tolist()
    ]
