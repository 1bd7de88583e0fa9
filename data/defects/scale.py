"""The batch's own yardstick: what counts as a visible change on these images.

Strength and label are measured against the variation that good images show among themselves, so that "faint" means the same
on a mirror-polished part and on cast iron, and nobody sets grey levels by hand for each product.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class BatchScale:
    """Grey levels (0..255) of the good images.

    ``variation``: robust standard deviation of the fine texture (image minus its 9-pixel Gaussian), the unit of strength.
    ``dark``, ``bright``: 2 % and 98 % quantile of all pixels. ``binary``: images of practically two grey levels.
    """

    variation: float
    dark: float
    bright: float
    binary: bool

    @property
    def visible(self) -> float:
        """The change in grey levels at which a label reaches one half."""
        return 1.5 * self.variation


def fine_texture(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """``image`` (H, W) minus its local mean (Gaussian, sigma 3 px)."""
    return np.asarray(image - cv2.GaussianBlur(image, (0, 0), 3.0), np.float32)


def measure_scale(images: Sequence[Image]) -> BatchScale:
    """Measure the yardstick on good images (H, W, C) uint8; at most 64 of them, evenly chosen, are looked at."""
    chosen = [images[i] for i in np.unique(np.linspace(0, len(images) - 1, min(64, len(images))).astype(int))]
    grey = [np.ascontiguousarray(image.mean(axis=2), np.float32) for image in chosen]
    # The upper tail counts: on patterned parts half the pixels are flat, and a defect must stand out where it is not.
    spread = [float(np.quantile(np.abs(fine_texture(image)), 0.84)) for image in grey]
    sample = np.concatenate([image[::4, ::4].ravel() for image in grey])
    dark, bright = (float(q) for q in np.quantile(sample, (0.02, 0.98)))
    middle = float(np.mean((sample > dark + 0.15 * (bright - dark)) & (sample < bright - 0.15 * (bright - dark))))
    # Below 2 grey levels it is camera noise; above 1/12 of the range it is structure, and 12 units would leave the range.
    variation = float(np.clip(np.median(spread), 2.0, max((bright - dark) / 12.0, 2.0)))
    return BatchScale(variation, dark, bright, middle < 0.1 and bright - dark > 60)
