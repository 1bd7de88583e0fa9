"""The batch's own yardstick: what counts as a visible change on these images.

Strength and label are measured against the variation that good images show among themselves, so that "faint" means the same
on a mirror-polished part and on cast iron, and nobody sets grey levels by hand for each product.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

# On crops its threads cost more than they bring, and a forked worker would wait for threads that it does not have.
cv2.setNumThreads(1)

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class BatchScale:
    """Grey levels (0..255) of the good images.

    ``variation``: robust standard deviation of the fine texture (image minus its local mean), the unit of strength.
    ``dark``, ``bright``: 2 % and 98 % quantile of all pixels. ``binary``: practically two grey levels. ``textured``: the
    surface is a random texture, not a pattern (its fine texture is nearly Gaussian: the median of its absolute value is
    over 0.15 of the 97 % quantile; 0.31 for a Gaussian, under 0.1 where edges stand out of smooth surroundings). ``grain``:
    correlation length of the fine texture in px, 1 to 8: a spot no larger than a grain is taken for one. ``wide``: as
    ``variation``, of what good images show between 10 and 30 px: the unit of what is soft and wide.
    """

    variation: float
    dark: float
    bright: float
    binary: bool
    textured: bool = False
    grain: float = 1.0
    wide: float = 0.0

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
    # The median: edges of print and holes are structure, not noise, and cover less than half of a part.
    middle, upper = np.median([np.quantile(np.abs(fine_texture(image)), (0.5, 0.97)) for image in grey], axis=0)
    sample = np.concatenate([image[::4, ::4].ravel() for image in grey])
    dark, bright = (float(q) for q in np.quantile(sample, (0.02, 0.98)))
    between = float(np.mean((sample > dark + 0.15 * (bright - dark)) & (sample < bright - 0.15 * (bright - dark))))
    binary = between < 0.1 and bright - dark > 60
    # Two grey levels have no texture: a twelfth of their distance stands in, so that strengths span what there is.
    # Elsewhere a camera's own noise is the least that counts, and strength must not leave the range either.
    floor, ceiling = max((bright - dark) / 40.0, 2.0), max((bright - dark) / 12.0, 2.0)
    variation = ceiling if binary else float(np.clip(1.4826 * middle, floor, ceiling))
    textured = not binary and bool(middle > 0.15 * upper)
    wide = 0.0 if binary else float(np.clip(1.4826 * np.median([wide_texture(image) for image in grey]), 0.0, ceiling))
    return BatchScale(variation, dark, bright, binary, textured, grain(grey) if textured else 1.0, wide)


def wide_texture(grey: NDArray[np.float32]) -> float:
    """Median absolute value of what ``grey`` (H, W) shows between 10 and 30 px (sigma)."""
    small = cv2.resize(grey, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    return float(np.median(np.abs(cv2.GaussianBlur(small, (0, 0), 2.5) - cv2.GaussianBlur(small, (0, 0), 7.5))))


def grain(grey: Sequence[NDArray[np.float32]]) -> float:
    """Correlation length in px (1 to 8) of the fine texture of images (H, W): where a Gaussian decay through the correlation
    of neighbours, along the rougher axis, has fallen to 1/e; their median."""
    lengths = [(-np.log(np.clip(neighbour_correlation(image), 0.05, 0.98))) ** -0.5 for image in grey]
    return float(np.clip(np.median(lengths), 1.0, 8.0))


def neighbour_correlation(grey: NDArray[np.float32]) -> float:
    """Correlation of neighbouring pixels, along the rougher axis, in what ``grey`` (H, W) shows below 6 px: near 1 where the
    camera resolves more than the surface shows, 0 for independent pixels."""
    fine = grey - cv2.GaussianBlur(grey, (0, 0), 6.0)
    power = max(float((fine * fine).mean()), 1e-6)
    return min(float((fine[:, 1:] * fine[:, :-1]).mean()), float((fine[1:] * fine[:-1]).mean())) / power
