"""Laying a fill over a background, and the label that follows from the change actually made."""

import cv2
import numpy as np
from numpy.typing import NDArray

from data.defects.scale import BatchScale

Pixels = NDArray[np.float32]


def alpha_blend(background: Pixels, fill: Pixels, mask: Pixels) -> Pixels:
    """``mask`` (H, W) in 0..1 parts of ``fill`` over ``background``, both (H, W, C)."""
    return background + mask[..., None] * (fill - background)


def poisson_blend(background: Pixels, fill: Pixels, mask: Pixels) -> Pixels:
    """Keep the gradients of ``fill`` and the border of ``background`` (Pérez 2003); alpha blending where the mask is too small.

    OpenCV wants three channels and a mask that stays clear of the border.
    """
    solid = (mask > 0.5).astype(np.uint8)
    solid[[0, -1], :] = solid[:, [0, -1]] = 0
    x, y, w, h = cv2.boundingRect(solid)
    if w < 4 or h < 4:
        return alpha_blend(background, fill, mask)
    channels = background.shape[2]
    spread = 3 if channels == 1 else 1
    target = np.clip(background, 0, 255).astype(np.uint8).repeat(spread, axis=2)
    source = np.clip(fill, 0, 255).astype(np.uint8).repeat(spread, axis=2)
    cloned = cv2.seamlessClone(
        np.ascontiguousarray(source), np.ascontiguousarray(target), solid * 255, (x + w // 2, y + h // 2), cv2.NORMAL_CLONE
    )
    changed = np.asarray(cloned, np.float32)[..., :channels]
    return background + np.clip(cv2.dilate(mask, np.ones((3, 3), np.uint8)), 0, 1)[..., None] * (changed - background)


LINE = 5.0
"""Signal to noise, along a line, from which it can be seen."""


def label_of_change(before: Pixels, after: Pixels, scale: BatchScale, line: bool = False) -> Pixels:
    """Label (H, W) in 0..1: a logistic of the change, one half at ``scale.visible``, zero where nothing can be seen.

    After NSA (Schlüter 2022). The change is averaged over a small neighbourhood, so that the label does not inherit the
    texture's grain, and over a wide one, so that an area of another texture is labelled as an area. ``line``: what changed is
    thin and long, and is seen by its length as well.
    """
    touched = np.abs(after - before).max(axis=2)
    fine, wide = np.asarray(cv2.GaussianBlur(touched, (0, 0), 1.2), np.float32), _wide_mean(touched)
    near = np.asarray(cv2.dilate(touched, np.ones((7, 7), np.uint8)), np.float32)
    change = np.maximum(fine, np.minimum(wide, near))
    label = _logistic(np.asarray(change / scale.visible, np.float32))
    if line:
        label = np.maximum(label, _label_along(touched, scale))
    label = np.where(label < 0.1, 0.0, label)
    return np.asarray(label if label.max() > 0.5 else np.zeros_like(label), np.float32)


def _label_along(touched: Pixels, scale: BatchScale) -> Pixels:
    """Label of a line: one half where the filter that matches its change has a signal of ``LINE`` times the noise.

    In white noise that is the root of the change's energy over the standard deviation; noise that hangs together over ``grain``
    pixels counts as so many fewer samples. Energy is summed about each pixel (Gaussian, sigma 10 px: some 35 px along a line).
    A pixel is labelled where its change is at least two fifths of the largest change nearby.
    """
    around = 4.0 * np.pi * 10.0**2
    energy = np.asarray(cv2.GaussianBlur(touched * touched, (0, 0), 10.0), np.float32) * np.float32(around / 2.0)
    signal = np.sqrt(energy) / (scale.variation * np.sqrt(np.pi) * scale.grain)
    sharp = np.asarray(cv2.GaussianBlur(touched, (0, 0), 0.7), np.float32)
    most = np.asarray(cv2.dilate(sharp, np.ones((15, 15), np.uint8)), np.float32)
    return np.minimum(_logistic(signal / LINE), _logistic(sharp / np.maximum(0.4 * most, 1e-3)))


def _logistic(change: Pixels) -> Pixels:
    """0 to 1, one half at 1."""
    return np.asarray(1.0 / (1.0 + np.exp(np.clip(-6.0 * (change - 1.0), -30, 30))), np.float32)


def _wide_mean(values: Pixels) -> Pixels:
    """Gaussian mean (sigma 6 px) of ``values`` (H, W), at a quarter of the resolution: a tenth of the cost."""
    height, width = values.shape
    small = cv2.resize(values, (max(width // 4, 1), max(height // 4, 1)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(cv2.GaussianBlur(small, (0, 0), 1.5), (width, height)), np.float32)
