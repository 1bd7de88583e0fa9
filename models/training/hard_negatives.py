"""Hard negatives: where a network in training fires on good training images, it gets to see more of it."""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from models.detectors.detector import Detector
from models.inspection.inspector import Inspector, MapPooling, pool_map, raw_maps

Image = NDArray[np.uint8]
Spot = tuple[int, int, int]
"""Number of an image, row, column."""

PIXELS = 3e6
"""How much of the good images is searched at a time, at most."""
SHARE = 0.125
"""Pixels searched for each one trained on: a short training must not be mostly searching."""
PEAKS = 3
KEPT = 0.5


def searched(steps: int, batch_size: int, side: int) -> float:
    """Pixels to search for ``steps`` on ``batch_size`` crops of ``side`` px: an eighth of them, up to three million."""
    return min(PIXELS, SHARE * steps * batch_size * side**2)


def paces_between(pixels: float, images: Sequence[Image]) -> int:
    """Paces between two searches, where ``pixels`` may be searched for each pace: enough of them for one image."""
    largest: int = max(image.shape[0] * image.shape[1] for image in images)
    return max(math.ceil(largest / pixels), 1)


@torch.no_grad()
def find_spots(
    detector: Detector, images: Sequence[Image], side: int, rng: np.random.Generator, pixels: float = PIXELS
) -> list[Spot]:
    """The higher half of the peaks of ``detector``'s map on good ``images`` (H, W, C): up to three an image, at least half a
    ``side`` apart. Images are drawn at random, at least one and ``pixels`` at most."""
    inspector = Inspector([detector], 1.0).to(detector.device).eval()
    found: list[tuple[float, Spot]] = []
    left = pixels
    for number in rng.permutation(len(images)).tolist():
        size = images[number].shape[0] * images[number].shape[1]
        if found and size > left:
            break
        left -= size
        smooth = pool_map(MapPooling(1, 4, 3), raw_maps(inspector, images[number])[0])  # (1, 1, h / 4, w / 4)
        apart = 2 * (side // 16) + 1
        highest = F.max_pool2d(smooth, apart, stride=1, padding=apart // 2)
        peaks = torch.where(smooth == highest, smooth, torch.full_like(smooth, -1e9)).flatten()
        values, places = peaks.topk(min(PEAKS, peaks.numel()))
        for value, place in zip(values.tolist(), places.tolist(), strict=True):
            if value > -1e8:
                found.append((value, (number, 4 * (place // smooth.shape[-1]) + 2, 4 * (place % smooth.shape[-1]) + 2)))
    found.sort(key=lambda item: (-item[0], item[1]))
    return [spot for _, spot in found[: max(round(KEPT * len(found)), 1)]]
