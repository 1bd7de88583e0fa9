"""Section ``validate``: limits of the checks that warn. What makes a batch unusable is not a setting."""

from pydantic import Field

from data.batch import MIN_IMAGES
from data.section import Section


class ValidateSettings(Section):
    """Limits of the warnings."""

    few_images: int = Field(24, ge=MIN_IMAGES)
    """Fewer images than this are a warning."""
    outlier_sigmas: float = Field(6.0, gt=0)
    """An image is an outlier beyond this many robust standard deviations (1.4826 × median absolute deviation)."""
    blur_factor: float = Field(3.0, gt=1)
    """A blurred outlier has a sharpness below the median divided by this, too."""
    brightness_step: float = Field(0.10, gt=0, le=1)
    """An outlier in brightness is at least this far from the median, too, in shares of the full range."""
    clipped_step: float = Field(0.10, gt=0, le=1)
    """An over- or underexposed outlier has at least this share of pixels more at the end of the range than the median image."""
    duplicates_fraction: float = Field(0.10, ge=0, le=1)
    """A larger share of near-duplicates that are not of one known part is a warning."""
    drift_sigmas: float = Field(3.0, gt=0)
    """A median further than this many robust standard deviations of earlier batches from theirs is a warning."""
