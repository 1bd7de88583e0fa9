"""From camera pixels to what detectors see: working resolution and per-image normalisation; training and the exported graph
share it."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from data.defects.scale import neighbour_correlation

Image = NDArray[np.uint8]
MIN_SPREAD = 0.04  # standard deviation (of 0..1) below which an image counts as flat and its noise is not blown up


OVERSAMPLED = 0.88
MIN_SIDE = 192


def working_scale(images: Sequence[Image], max_pixels: int) -> float:
    """Factor (at most 1) at which detectors look at images (H, W, C).

    It brings the median image down to ``max_pixels`` (rounded to 1/64, so that it is exact in a file), and halves images whose
    detail is all coarser than their pixels: training then covers four times the surface in the same time.
    """
    pixels = float(np.median([image.shape[0] * image.shape[1] for image in images]))
    scale = float(min(1.0, max(round(64 * (max_pixels / pixels) ** 0.5), 8) / 64))
    shortest = float(np.median([min(image.shape[:2]) for image in images]))
    chosen = [images[i] for i in np.unique(np.linspace(0, len(images) - 1, min(12, len(images))).astype(int))]
    while shortest * scale / 2 >= MIN_SIDE and smoothness([at_working_scale(image, scale) for image in chosen]) > OVERSAMPLED:
        scale /= 2
    return scale


def smoothness(images: Sequence[Image]) -> float:
    """Median over images (H, W, C) of the correlation of neighbouring pixels (see ``data.defects.scale``)."""
    return float(np.median([neighbour_correlation(np.ascontiguousarray(image.mean(axis=2), np.float32)) for image in images]))


def resize(images: Tensor, scale: float) -> Tensor:
    """(N, C, H, W) float to working resolution; ``scale`` 1 is the identity.

    Whole steps are averaged and only the rest is interpolated: interpolation alone would skip pixels, and thin defects with them.
    """
    steps = int(1.0 / scale + 1e-9)
    images, rest = reduce(images, steps), scale * steps
    if rest > 1.0 - 1e-9:
        return images
    return F.interpolate(images, scale_factor=rest, mode="bilinear", align_corners=False, recompute_scale_factor=True)


def reduce(images: Tensor, steps: int) -> Tensor:
    """(N, C, H, W) to the means of ``steps`` x ``steps`` pixels, (N, C, ceil(H / steps), ceil(W / steps)); a border that does not
    fill a square is continued by its outermost pixels."""
    if steps == 1:
        return images
    padding = (0, (-images.shape[-1]) % steps, 0, (-images.shape[-2]) % steps)
    return F.avg_pool2d(F.pad(images, padding, mode="replicate"), steps)


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


def at_working_scale(image: Image, scale: float, reduction: int = 1) -> Image:
    """``image`` (H, W, C) uint8 through ``resize`` and ``reduce``, as uint8 again."""
    if scale == 1.0 and reduction == 1:
        return image
    tensor = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
    small = reduce(resize(tensor, scale), reduction)[0].permute(1, 2, 0).round().clamp(0, 255)
    return np.asarray(small.numpy(), np.uint8)
