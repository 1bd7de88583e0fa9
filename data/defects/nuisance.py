"""Harmless variation, labelled good: light, contrast, sub-pixel shift, noise, blur. A detector that never sees it drawn on
purpose
learns that anything touched by our drawing code is a defect."""

import cv2
import numpy as np
from numpy.typing import NDArray

from data.defects.scale import BatchScale
from data.defects.shapes import smooth_noise

Pixels = NDArray[np.float32]


def shift(rng: np.random.Generator, image: Pixels, strength: float) -> Pixels:
    """``image`` (H, W, C) moved by a fraction of a pixel and turned by less than a degree."""
    height, width, _ = image.shape
    matrix = cv2.getRotationMatrix2D((width / 2.0, height / 2.0), float(rng.normal(0, 0.5 * strength)), 1.0)
    matrix[:, 2] = matrix[:, 2] + rng.uniform(-0.5, 0.5, 2) * strength
    moved = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(moved, np.float32).reshape(image.shape)


def printed(rng: np.random.Generator, image: Pixels, strength: float) -> Pixels:
    """``image`` (H, W, C) as another print or casting of the same: every place is up to about a pixel from where it was, and
    lines are a little thicker or thinner."""
    height, width, _ = image.shape
    away = rng.uniform(0.0, 1.0) * strength
    columns, rows = (
        (np.arange(size, dtype=np.float32)[across] + away * smooth_noise(rng, height, width, 12.0)).astype(np.float32)
        for size, across in ((width, np.s_[None]), (height, np.s_[:, None]))
    )
    moved = cv2.remap(image, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101).reshape(image.shape)
    share = float(rng.uniform(-0.7, 0.7)) * min(strength, 1.0)
    change = cv2.dilate if share > 0 else cv2.erode
    grown = change(moved, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))).reshape(image.shape)
    return np.asarray(moved + abs(share) * (grown - moved), np.float32)


def light(
    rng: np.random.Generator, image: Pixels, scale: BatchScale, strength: float, middle: np.float32 | None = None
) -> Pixels:
    """Photometric nuisances on ``image`` (H, W, C) float32 0..255, each with a chance of its own. ``middle``: the value that
    contrast turns about; None takes the image's mean."""
    height, width, _ = image.shape
    if rng.random() < 0.5:
        middle = image.mean() if middle is None else middle
        stretched = (image - middle) * float(np.exp(rng.normal(0, 0.08 * strength)))
        image = np.asarray(middle + stretched + float(rng.normal(0, 6.0 * strength)), np.float32)
    if rng.random() < 0.3:  # a slope of light wider than any defect
        field = smooth_noise(rng, height, width, 1.5 * max(height, width))
        image = image + (0.8 * strength * scale.variation * field)[..., None]
    if rng.random() < 0.4:
        amount = float(rng.uniform(0.0, 0.4)) * strength * min(scale.variation, 8.0)
        image = image + rng.standard_normal(image.shape, np.float32) * np.float32(amount)
    if rng.random() < 0.15:
        blurred = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.3, 0.3 + 0.5 * strength)))
        image = np.asarray(blurred, np.float32).reshape(image.shape)
    return np.asarray(image, np.float32)
