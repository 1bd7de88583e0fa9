"""Where the part is and where it ends: a defect beside it is nobody's defect, a chip is one at its rim."""

import cv2
import numpy as np
from numpy.typing import NDArray

from data.defects.scale import Image

PLAIN = 0.06
TOLERANCE = 0.12


def foreground(image: Image) -> NDArray[np.bool_]:
    """Mask (H, W) of the part in ``image`` (H, W, C): all of it, unless the image's border is plain.

    A plain border (its robust spread is under 6 % of the image's range) is taken for the background's grey; what is within
    12 % of the range of it and connected with the border is background, as long as that leaves 10 to 95 % of the image.
    """
    grey = cv2.GaussianBlur(np.ascontiguousarray(image.mean(axis=2), np.float32), (0, 0), 1.5)
    everything = np.ones(grey.shape, np.bool_)
    low, high = np.quantile(grey, (0.01, 0.99))
    span = float(high - low)
    ring = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    level = float(np.median(ring))
    if span < 10 or 1.4826 * float(np.median(np.abs(ring - level))) > PLAIN * span:
        return everything
    alike = (np.abs(grey - level) < TOLERANCE * span).astype(np.uint8)
    framed = cv2.copyMakeBorder(alike, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    _, marks = cv2.connectedComponents(framed, connectivity=4)
    part = (marks != marks[0, 0])[1:-1, 1:-1]
    return np.asarray(part) if 0.1 <= part.mean() <= 0.95 else everything


def rim(part: NDArray[np.bool_], whole: bool) -> NDArray[np.intp]:
    """Pixels (n, 2) as (x, y) of ``part`` (H, W) where it ends.

    ``whole``: the view shows the whole image, whose sides then end the part as well; beyond the sides of a crop it goes on.
    """
    framed = cv2.copyMakeBorder(
        part.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT if whole else cv2.BORDER_REPLICATE, value=0
    )
    inner = cv2.erode(framed, np.ones((3, 3), np.uint8))[1:-1, 1:-1]
    y, x = np.nonzero(part & (inner == 0))
    return np.stack([x, y], 1)
