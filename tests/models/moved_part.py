"""A rendered part somewhere else: shifted, turned, scaled, in another light."""

import cv2
import numpy as np
import torch

from models.inspection.inspector import as_seen


def moved(
    image: np.ndarray,
    shift: tuple[float, float] = (0.0, 0.0),
    turn: float = 0.0,
    scale: float = 1.0,
    light: float = 1.0,
    blur: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """``image`` (H, W, C) shifted by px, turned by degrees about its middle, ``light`` times as bright, and where that takes each
    of its pixels, (2, 3)."""
    h, w = image.shape[:2]
    affine = cv2.getRotationMatrix2D(((w - 1) / 2, (h - 1) / 2), turn, scale)
    affine[:, 2] += shift
    levels = cv2.warpAffine(image.astype(np.float32), affine, (w, h), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    if blur:
        levels = cv2.GaussianBlur(levels, (0, 0), blur)
    return np.clip(np.rint(light * levels), 0, 255).astype(np.uint8).reshape(image.shape), affine


def seen(*images: np.ndarray) -> torch.Tensor:
    """Images (H, W, C) of one size as detectors see them."""
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return as_seen(pixels.float() / 255.0)
