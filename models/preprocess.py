"""From camera pixels to what detectors see: working resolution and per-image normalisation; training and the exported graph
share it."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Image = NDArray[np.uint8]
MIN_SPREAD = 0.04  # standard deviation (of 0..1) below which an image counts as flat and its noise is not blown up


def working_scale(images: Sequence[Image], max_pixels: int) -> float:
    """Factor (at most 1) that brings the median image of (H, W, C) down to ``max_pixels``; rounded to 1/64 so that it is exact
    in a file."""
    pixels = float(np.median([image.shape[0] * image.shape[1] for image in images]))
    return float(min(1.0, max(round(64 * (max_pixels / pixels) ** 0.5), 8) / 64))


def resize(images: Tensor, scale: float) -> Tensor:
    """(N, C, H, W) float to working resolution; ``scale`` 1 is the identity."""
    if scale == 1.0:
        return images
    return F.interpolate(images, scale_factor=scale, mode="bilinear", align_corners=False, recompute_scale_factor=True)


def normalise(images: Tensor) -> Tensor:
    """(N, C, H, W) in 0..1 to zero mean and unit spread, image by image: exposure differs from part to part."""
    mean = _mean(images)
    spread = _mean((images - mean).square()).sqrt()
    return (images - mean) / spread.clamp(min=MIN_SPREAD)


def _mean(images: Tensor) -> Tensor:
    """Mean of each image, row by row first: a float32 sum over a million pixels loses digits, in another runtime others."""
    return images.mean(3, keepdim=True).mean(2, keepdim=True).mean(1, keepdim=True)


def statistics(image: Image) -> tuple[float, float]:
    """Mean and clamped spread (both of 0..1) that ``normalise`` would use on ``image``."""
    values = image.astype(np.float32) / 255.0
    return float(values.mean()), max(float(values.std()), MIN_SPREAD)


def at_working_scale(image: Image, scale: float) -> Image:
    """``image`` (H, W, C) uint8 through ``resize``, as uint8 again."""
    if scale == 1.0:
        return image
    tensor = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
    small = resize(tensor, scale)[0].permute(1, 2, 0).round().clamp(0, 255)
    return np.asarray(small.numpy(), np.uint8)
