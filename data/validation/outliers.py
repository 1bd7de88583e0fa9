"""What is far from the rest of a batch. Cameras, parts and light differ, so that no absolute limit would do."""

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd

from data.validation.settings import ValidateSettings


def robust(values: Iterable[float]) -> tuple[float, float]:
    """Median and robust standard deviation (1.4826 × median absolute deviation) of the finite values; (0, 0) if none is."""
    finite = np.asarray([value for value in values if math.isfinite(value)], dtype=float)
    if finite.size == 0:
        return 0.0, 0.0
    middle = float(np.median(finite))
    return middle, 1.4826 * float(np.median(np.abs(finite - middle)))


def detail_limit(table: pd.DataFrame, settings: ValidateSettings) -> float:
    """Detail below which an image is blurred against its batch. It spreads by factors: its logarithm is compared."""
    middle, sigma = robust(np.log(table["detail"].dropna().clip(lower=1e-12)))
    return math.exp(middle - max(settings.outlier_sigmas * sigma, math.log(settings.blur_factor)))


def brightness_limits(table: pd.DataFrame, settings: ValidateSettings) -> tuple[float, float]:
    """Brightness below and above which an image stands out."""
    middle, sigma = robust(table["brightness"])
    reach = max(settings.outlier_sigmas * sigma, settings.brightness_step)
    return middle - reach, middle + reach


def clipped_limit(shares: pd.Series, settings: ValidateSettings) -> float:
    """Share of clipped pixels above which an image stands out: binary pictures are clipped by nature, so the median counts."""
    middle, sigma = robust(shares)
    return middle + max(settings.outlier_sigmas * sigma, settings.clipped_step)
