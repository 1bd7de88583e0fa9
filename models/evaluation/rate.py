"""A share of cases with its bounds. Read with the records of versions, so NumPy and SciPy are loaded where they count."""

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Rate:
    """``count`` of ``n``, with its two-sided 95 % Clopper-Pearson interval ``low`` to ``high``."""

    count: int
    n: int
    rate: float
    low: float
    high: float


def rate(count: int, n: int, confidence: float = 0.95) -> Rate:
    """A binomial proportion with exact bounds (Clopper and Pearson 1934); with ``n`` = 0 it is 0 within 0..1."""
    from scipy.stats import beta

    if n == 0:
        return Rate(0, 0, 0.0, 0.0, 1.0)
    tail = (1.0 - confidence) / 2.0
    low = 0.0 if count == 0 else float(beta.ppf(tail, count, n - count + 1))
    high = 1.0 if count == n else float(beta.ppf(1.0 - tail, count + 1, n - count))
    return Rate(count, n, count / n, low, high)


def rate_over_sources(hits: Sequence[bool], sources: Sequence[str], confidence: float = 0.95) -> Rate:
    """As ``rate``, of cases several of which come from one source (defects drawn on one image) and so hit or miss together.

    Bounds are those of 2,000 samples of whole sources, with replacement (cluster bootstrap, Davison and Hinkley 1997, sec. 3.8),
    and never closer than the exact ones of independent cases: few sources that agree say little. The samples are always the same.
    """
    import numpy as np

    exact = rate(int(np.sum(hits)), len(hits), confidence)
    _, which = np.unique(np.asarray(sources, dtype=str), return_inverse=True)
    count = int(which.max()) + 1 if len(which) else 0
    if count < 2:
        return exact
    hit, cases = np.bincount(which, np.asarray(hits, np.float64)), np.bincount(which)
    drawn = np.random.default_rng(0).integers(count, size=(2000, count))
    rates = hit[drawn].sum(1) / cases[drawn].sum(1)
    tail = (1.0 - confidence) / 2.0
    low, high = (float(bound) for bound in np.quantile(rates, (tail, 1.0 - tail)))
    return replace(exact, low=min(exact.low, low), high=max(exact.high, high))
