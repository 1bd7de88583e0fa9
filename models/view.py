"""Views: the resolutions that a product is looked at. Fine for what is small, the whole image at a glance for what is wide."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
GLANCE = 96.0
ENOUGH = 100
"""Training images from which a network that sees all of an image at once learns the product and not the images."""


@dataclass(frozen=True)
class View:
    """``reduction``: how many pixels of working scale become one, along each side. ``side``: of its training crops in its own px.
    ``share``: of the training time."""

    reduction: int
    side: int
    share: float


def views_of(images: Sequence[Image], side: int) -> tuple[View, ...]:
    """The views of good ``images`` (H, W, C) at working scale: as they are, in crops of ``side`` px, and, unless they are hardly
    larger than that or fewer than 100, all of the image reduced to about 96 x 96 px, where a crop of half the ``side`` sees most
    of it."""
    pixels = float(np.median([image.shape[0] * image.shape[1] for image in images]))
    reduction = round(pixels**0.5 / GLANCE)
    if reduction < 2 or len(images) < ENOUGH:
        return (View(1, side, 1.0),)
    return (View(1, side, 0.8), View(reduction, side // 2, 0.2))
