"""What is inside a pseudo-defect: replacement pixels (H, W, C) float32, 0..255, for a background of the same shape.

``amount`` is the intended change in grey levels. A fill that would leave 0..255 turns its sign, so that it stays visible.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from data.defects.scale import BatchScale
from data.defects.shapes import smooth_noise

Pixels = NDArray[np.float32]


def signed(rng: np.random.Generator, background: Pixels, inside: Pixels, amount: float) -> float:
    """``amount`` with a random sign, turned where the pixels under ``inside`` have no room on that side."""
    weight = float(inside.sum()) + 1e-6
    level = float((background.mean(axis=2) * inside).sum()) / weight
    sign = 1.0 if rng.random() < 0.5 else -1.0
    room = 255.0 - level if sign > 0 else level
    if room < 0.7 * amount and 255.0 - room > room:
        sign = -sign
    return sign * amount


def shifted(background: Pixels, change: float) -> Pixels:
    """The background, lighter or darker: its texture shows through."""
    return background + np.float32(change)


def constant(background: Pixels, inside: Pixels, change: float) -> Pixels:
    """One grey: the mean under the mask, plus ``change``."""
    weight = float(inside.sum()) + 1e-6
    level = (background * inside[..., None]).sum((0, 1)) / weight
    return np.broadcast_to((level + change).astype(np.float32), background.shape).copy()


def palette(rng: np.random.Generator, background: Pixels, inside: Pixels, scale: BatchScale) -> Pixels:
    """The batch's own dark or bright grey, whichever is further from what is there (on printed boards: copper or gap)."""
    weight = float(inside.sum()) + 1e-6
    level = float((background.mean(axis=2) * inside).sum()) / weight
    nearer_bright = abs(level - scale.bright) < abs(level - scale.dark)
    if abs(level - 0.5 * (scale.bright + scale.dark)) < 0.2 * (scale.bright - scale.dark):
        nearer_bright = bool(rng.random() < 0.5)
    return np.full_like(background, scale.dark if nearer_bright else scale.bright)


def gradient(rng: np.random.Generator, background: Pixels, change: float) -> Pixels:
    """A change that runs from nothing to twice ``change`` along a random direction."""
    height, width, _ = background.shape
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    ramp = np.cos(angle) * (x / width - 0.5) + np.sin(angle) * (y / height - 0.5)
    return np.asarray(background + (change * (1.0 + 2.0 * ramp))[..., None], np.float32)


def mottled(rng: np.random.Generator, background: Pixels, change: float, cell: float) -> Pixels:
    """A change that comes in patches of ``cell`` px, as dirt and corrosion do."""
    height, width, _ = background.shape
    noise = smooth_noise(rng, height, width, cell)
    return background + (change * (0.7 + noise))[..., None].astype(np.float32)


def flattened(background: Pixels, sigma: float) -> Pixels:
    """The background without its fine texture, as worn or polished surfaces are."""
    return np.asarray(cv2.GaussianBlur(background, (0, 0), sigma), np.float32).reshape(background.shape)


def tinted(rng: np.random.Generator, fill: Pixels, background: Pixels) -> Pixels:
    """On colour images, spread the change unevenly over the channels; grey images come back as they are."""
    channels = background.shape[2]
    if channels == 1:
        return fill
    weights = rng.dirichlet(np.full(channels, 1.5)).astype(np.float32) * channels
    return np.asarray(background + (fill - background) * weights, np.float32)
