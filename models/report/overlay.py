"""Anomaly maps and labels laid over photographs, by one fixed scale: the same map value has the same colour in every picture."""

from dataclasses import dataclass
from functools import cached_property
from math import isfinite

import cv2
import numpy as np
from numpy.typing import NDArray

from core.errors import BadModel

Pixels = NDArray[np.uint8]
Map = NDArray[np.float32]

LEVELS = 256  # steps on each side of the threshold
OUTLINE = (125, 235, 255)  # RGB of the label's outline: light cyan stands apart from every colour of the scale
HALO = (10, 20, 30)  # RGB drawn under the outline, so that it shows on bright parts too


@dataclass(frozen=True)
class ColourScale:
    """The colours of anomaly maps, tied to the pixel threshold (in score units) and to nothing else.

    Up to the threshold a map is nearly transparent (opacity rises from 0 to 0.12); just above it jumps to 0.62 and reaches
    0.90 at ``high``, beyond which it no longer changes. Colours are a section of inferno, which is perceptually uniform and
    readable with colour-blind eyes; its palest end is left out because it vanishes on white parts.
    """

    pixel_threshold: float

    def __post_init__(self) -> None:
        if not isfinite(self.pixel_threshold):
            raise BadModel(f"pixel threshold {self.pixel_threshold} is not a finite number; calibrate the model again")

    @property
    def span(self) -> float:
        """Distance from the threshold to either end of the scale, in score units; positive."""
        return abs(self.pixel_threshold) or 1e-6

    @property
    def low(self) -> float:
        """Map value at which opacity starts: 0 for a positive threshold."""
        return self.pixel_threshold - self.span

    @property
    def high(self) -> float:
        """Map value from which colour and opacity stay the same: twice a positive threshold."""
        return self.pixel_threshold + self.span

    @cached_property
    def table(self) -> Pixels:
        """Colour by level: uint8 (2 · LEVELS, 4), straight RGBA; the first half is at or below the threshold."""
        inferno = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_INFERNO)[:, 0, ::-1]
        rise = (np.arange(LEVELS) + 0.5) / LEVELS  # (LEVELS,) in 0..1 within one half
        position = 0.30 + 0.28 * np.concatenate([rise, 1 + rise])  # 0.30..0.86 of inferno
        opacity = np.concatenate([0.12 * rise**2, 0.62 + 0.28 * rise])
        colours = inferno[np.rint(position * 255).astype(int)]
        return np.concatenate([colours, np.rint(opacity * 255).astype(np.uint8)[:, None]], axis=1).astype(np.uint8)

    def paint(self, anomaly_map: Map) -> Pixels:
        """Map float32 (H, W) in score units → straight RGBA uint8 (H, W, 4)."""
        ratio = (anomaly_map.astype(np.float64) - self.low) / self.span  # 1 at the threshold
        level = np.ceil(ratio * LEVELS) - 1  # a value equal to the threshold is not above it
        painted: Pixels = self.table[np.clip(level, 0, 2 * LEVELS - 1).astype(int)]
        return painted


def rgb(image: Pixels) -> Pixels:
    """Image uint8 (H, W, 1 or 3), RGB → contiguous uint8 (H, W, 3)."""
    return np.ascontiguousarray(np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image)


def pooled(anomaly_map: Map, side: int) -> tuple[Map, int]:
    """Shrink a map (H, W) by a whole factor until neither edge exceeds ``side``; returns it and the factor.

    Each new pixel is the largest of its block: averaging would make small spots look weaker than the model found them.
    """
    height, width = anomaly_map.shape
    factor = max(1, -(-max(height, width) // side))
    padded = np.pad(anomaly_map, ((0, -height % factor), (0, -width % factor)), mode="edge")
    blocks = padded.reshape(padded.shape[0] // factor, factor, padded.shape[1] // factor, factor)
    return blocks.max(axis=(1, 3)), factor


def contours(label: Pixels | None) -> list[NDArray[np.int32]]:
    """Outlines of a label uint8 (H, W) in 0..255: polygons (N, 2) of x, y in pixels, a small margin outside the label.

    The outline runs where the label is half visible (128), or around all of a label that is fainter everywhere.
    """
    if label is None or not label.any():
        return []
    margin = max(1, round(max(label.shape) / 160))  # an outline on the very edge would hide defects of a few pixels
    inside = (label >= min(128, int(label.max()))).astype(np.uint8)
    padded = cv2.copyMakeBorder(inside, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=0)
    grown = cv2.dilate(padded, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1)))
    found, _ = cv2.findContours(grown, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    smooth = [cv2.approxPolyDP(polygon, max(label.shape) / 800, True).reshape(-1, 2) - margin for polygon in found]
    return sorted(smooth, key=lambda polygon: (int(polygon[0, 1]), int(polygon[0, 0])))


def overlaid(image: Pixels, anomaly_map: Map, label: Pixels | None, scale: ColourScale) -> Pixels:
    """Photograph uint8 (H, W, C) with its map (H, W) painted over and its label outlined: uint8 (H, W, 3), RGB."""
    paint = scale.paint(anomaly_map).astype(np.float64)  # (H, W, 4)
    opacity = paint[..., 3:] / 255
    mixed = np.rint(rgb(image) * (1 - opacity) + paint[..., :3] * opacity).astype(np.uint8)
    lines = contours(label)
    width = max(1, round(max(mixed.shape[:2]) / 220))
    cv2.polylines(mixed, lines, True, HALO, 2 * width + 1, cv2.LINE_AA)
    cv2.polylines(mixed, lines, True, OUTLINE, width, cv2.LINE_AA)
    return mixed


def close_up(image: Pixels, anomaly_map: Map, label: Pixels | None) -> Pixels:
    """The square of ``image`` around its label, or around the map's highest value: uint8 (S, S, 3), at full resolution.

    S is about three times the marked place, at least an eighth of the longer edge, at most the shorter edge.
    """
    height, width = anomaly_map.shape
    marked = contours(label)
    if marked:
        x, y, w, h = cv2.boundingRect(max(marked, key=cv2.contourArea))
        middle, extent = (x + w // 2, y + h // 2), max(w, h)
    else:
        top, left = np.unravel_index(int(anomaly_map.argmax()), anomaly_map.shape)
        middle, extent = (int(left), int(top)), 0
    side = min(max(3 * extent, max(height, width) // 8, 48), height, width)
    left_edge = min(max(middle[0] - side // 2, 0), width - side)
    top_edge = min(max(middle[1] - side // 2, 0), height - side)
    return rgb(image[top_edge : top_edge + side, left_edge : left_edge + side])
