"""What is far from the rest of a batch. Cameras, parts and light differ, so that no absolute limit would do."""

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from data.batch import MIN_IMAGES


class ValidateSettings(BaseModel):
    """Section ``validate`` of ``params.yaml``: limits of the warnings. What makes a batch unusable is not a setting."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    few_images: int = Field(24, ge=MIN_IMAGES)
    """Fewer images than this are a warning."""
    outlier_sigmas: float = Field(6.0, gt=0)
    """An image is an outlier beyond this many robust standard deviations (1.4826 × median absolute deviation) …"""
    blur_factor: float = Field(3.0, gt=1)
    """… and, for blur, with a sharpness below the median divided by this; …"""
    brightness_step: float = Field(0.10, gt=0, le=1)
    """… for brightness, at least this far (of the full range) from the median; …"""
    clipped_step: float = Field(0.10, gt=0, le=1)
    """… for over- and underexposure, with at least this share of pixels more than the median image."""
    duplicates_fraction: float = Field(0.10, ge=0, le=1)
    """A larger share of near-duplicates that are not of one known part is a warning."""
    drift_sigmas: float = Field(3.0, gt=0)
    """A median further than this many robust standard deviations of earlier batches from theirs is a warning."""


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
