"""Families of pseudo-defects that are lines: scratches and jagged cracks of a blob's size, and long cracks that begin where the
part ends.

Functions as in ``data.defects.families``. A line of one to three pixels is seen by its length, not by its contrast: its label
follows what its change amounts to along it (``data.defects.blend``).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from data.defects import fills, shapes
from data.defects.blend import alpha_blend
from data.defects.canvas import Canvas
from data.defects.foreground import rim

Pixels = NDArray[np.float32]
FAINT, PLAIN = 1.5, 8.0
"""Contrast of a long crack where it is strongest, at difficulty 1 and 0, in units of the batch's variation."""


def stroke(canvas: Canvas, rng: np.random.Generator, difficulty: float) -> Pixels:
    """A scratch or a jagged crack; half of them along the machining direction, which is where the eye loses them."""
    jagged = rng.random() < 0.5
    length = min(max(canvas.diameter(rng, difficulty) * (3.0 if jagged else 2.0), 8.0), 1.2 * canvas.side)
    thickness = float(rng.uniform(0.8, 1.5 + (0.015 if jagged else 0.035) * canvas.side * (1.0 - difficulty)))
    direction = float(rng.uniform(0, np.pi))
    if rng.random() < 0.5:
        direction = machining_direction(canvas.background) + float(rng.normal(0, 0.08))
    draw = shapes.crack if jagged else shapes.stroke
    mask = draw(rng, canvas.height, canvas.width, canvas.centre, length, thickness, direction)
    mask = shapes.soften(mask, float(rng.uniform(0.0, 0.8)))
    if canvas.scale.binary and rng.random() < 0.8:
        fill = fills.palette(rng, canvas.background, mask, canvas.scale)
    else:
        # A line of one or two pixels is diluted by anti-aliasing: it needs more change to be as visible as a blob.
        change = fills.signed(rng, canvas.background, mask, 1.5 * canvas.amount(rng, difficulty))
        if jagged and rng.random() < 0.7:
            change = -abs(change)  # an open crack swallows light
        fill = fills.tinted(rng, fills.shifted(canvas.background, change), canvas.background)
    return alpha_blend(canvas.background, fill, mask)


def crack(canvas: Canvas, rng: np.random.Generator, difficulty: float) -> Pixels:
    """A long, thin crack: 1 to 3 px wide and a quarter of the crop's side or more in length whatever the difficulty, which is its
    contrast alone. Half of them begin at the part's rim, where cracks do begin, if it is in view; half follow the machining
    direction. Most are dark."""
    length = canvas.side * float(rng.uniform(0.25, 1.2))
    thickness = float(rng.uniform(0.8, 3.0))
    direction = float(rng.uniform(0, 2 * np.pi))
    if rng.random() < 0.5:
        direction = machining_direction(canvas.background) + float(rng.normal(0, 0.2)) + np.pi * int(rng.integers(2))
    start = canvas.centre - 0.5 * length * np.array([np.cos(direction), np.sin(direction)])
    if canvas.part is not None and rng.random() < 0.5:
        places = rim(canvas.part, whole=False)
        if len(places):
            start = places[int(rng.integers(len(places)))].astype(np.float64)
            direction = _inwards(canvas.part, start, direction, length)
    mask = shapes.long_crack(rng, canvas.height, canvas.width, start, length, thickness, direction)
    mask = shapes.soften(mask, float(rng.uniform(0.3, 0.9)))
    mask = mask / max(float(mask.max()), 1e-6)  # thin and soft lines would lose the contrast that was asked for
    if canvas.part is not None:
        mask = mask * canvas.part
    if canvas.scale.binary and rng.random() < 0.8:
        return alpha_blend(canvas.background, fills.palette(rng, canvas.background, mask, canvas.scale), mask)
    level = float(np.clip(difficulty + 0.5 * canvas.trade, 0.0, 1.0))
    amount = PLAIN * (FAINT / PLAIN) ** level * canvas.scale.variation * float(rng.uniform(0.8, 1.25))
    change = -amount if rng.random() < 0.8 else fills.signed(rng, canvas.background, mask, amount)
    return alpha_blend(canvas.background, fills.tinted(rng, fills.shifted(canvas.background, change), canvas.background), mask)


def _inwards(part: NDArray[np.bool_], start: NDArray[np.float64], direction: float, length: float) -> float:
    """``direction``, or its opposite where that stays on the part for longer."""
    steps = np.linspace(2.0, length, 16)[:, None]

    def stays(angle: float) -> int:
        points = np.round(start + steps * [np.cos(angle), np.sin(angle)]).astype(int)
        inside = ((points >= 0) & (points < part.shape[::-1])).all(1)
        return int(part[points[inside, 1], points[inside, 0]].sum())

    return direction if stays(direction) >= stays(direction + np.pi) else direction + np.pi


def machining_direction(background: Pixels) -> float:
    """Direction (radians) along which grey levels change least: the main axis of the structure tensor."""
    grey = np.ascontiguousarray(background.mean(axis=2))
    dx, dy = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    return float(0.5 * np.arctan2(2.0 * float((dx * dy).mean()), float((dx * dx - dy * dy).mean())) + np.pi / 2)
