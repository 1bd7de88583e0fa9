"""Overkill against escape: what other thresholds would have given, for QA and the process engineer to choose from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.calibrate import promises
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
    calibrate: Sequence[float], parts: Sequence[str], good: Sequence[float], defects: Sequence[float], sources: Sequence[str]
) -> list[Choice]:
    """At most 24 choices, from the smallest overkill that ``calibrate`` scores of ``parts`` can promise up to one half.

    ``good``: scores of lock images; ``defects``: of exam defects, each drawn on the image that ``sources`` names.
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
