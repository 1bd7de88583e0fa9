"""Where the part is: a defect beside it is nobody's defect."""

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
