"""Families for examinations: no detector ever trains on them, and they share no drawing code with those that do.

They stand in for the real defects that a changeover does not have: a tuning run chooses by them, and the gates are measured
on them. Each is a function ``(canvas, rng, difficulty) -> image`` like those of ``data.defects.families``.
"""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from data.defects.canvas import Canvas
from data.defects.foreground import rim

Pixels = NDArray[np.float32]


def _grid(canvas: Canvas, angle: float) -> tuple[Pixels, Pixels]:
    """Coordinates (along, across) in px about the centre, turned by ``angle``."""
    y, x = np.mgrid[: canvas.height, : canvas.width].astype(np.float32)
    x, y = x - np.float32(canvas.centre[0]), y - np.float32(canvas.centre[1])
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * cosine + y * sine, y * cosine - x * sine


def _push(canvas: Canvas, change: Pixels) -> Pixels:
    """Background plus ``change`` (H, W), mirrored in sign where that keeps more of it inside 0..255."""
    plus = np.clip(canvas.background + change[..., None], 0, 255)
    minus = np.clip(canvas.background - change[..., None], 0, 255)
    kept_plus, kept_minus = (float(np.abs(side - canvas.background).sum()) for side in (plus, minus))
    return np.asarray(plus if kept_plus >= 0.8 * kept_minus else minus, np.float32)


def relief(canvas: Canvas, rng: np.random.Generator, difficulty: float) -> Pixels:
    """A scratch with depth: one flank bright, the other dark, along a shallow parabola."""
    length = max(2.2 * canvas.diameter(rng, difficulty), 10.0)
    along, across = _grid(canvas, float(rng.uniform(0, np.pi)))
    across = across - np.float32(rng.uniform(-0.15, 0.15) / length) * along**2
    width = np.float32(rng.uniform(0.9, 1.6 + 0.012 * canvas.side * (1 - difficulty)))
    profile = -across / width * np.exp(0.5 - 0.5 * (across / width) ** 2)
    if rng.random() < 0.4:  # a groove in shadow
        profile = np.exp(-0.5 * (across / width) ** 2)
    ends = 1.0 / (1.0 + np.exp(np.clip((np.abs(along) - length / 2) / 2.0, -30, 30)))
    return _push(canvas, (1.6 * canvas.amount(rng, difficulty) * profile * ends).astype(np.float32))


def dent(canvas: Canvas, rng: np.random.Generator, difficulty: float) -> Pixels:
    """A hollow under slanted light: bright on one side, dark on the other, the structure slightly drawn together."""
    radius = 0.6 * canvas.diameter(rng, difficulty)
    along, across = _grid(canvas, float(rng.uniform(0, 2 * np.pi)))
    across = across * np.float32(rng.uniform(1.0, 1.8))
    distance = np.sqrt(along**2 + across**2) / radius
    bowl = np.exp(-0.5 * (distance / 0.6) ** 4)
    shade = canvas.amount(rng, difficulty) * 1.3 * (along / radius) * bowl
    y, x = np.mgrid[: canvas.height, : canvas.width].astype(np.float32)
    pull = np.float32(0.15) * bowl
    sampled = cv2.remap(
        canvas.background,
        (x + (x - canvas.centre[0]) * pull).astype(np.float32),
        (y + (y - canvas.centre[1]) * pull).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    ).reshape(canvas.background.shape)
    return np.asarray(np.clip(sampled + shade[..., None], 0, 255), np.float32)


def erase(canvas: Canvas, rng: np.random.Generator, difficulty: float) -> Pixels:
    """Something is missing: a rectangle is filled from its surroundings by inpainting (Telea 2004), its grain restored."""
    long = max(1.2 * canvas.diameter(rng, difficulty), 6.0)
    box = (tuple(map(float, canvas.centre)), (long, max(long * float(rng.uniform(0.4, 1.0)), 4.0)), float(rng.uniform(0, 180)))
    hole = np.zeros((canvas.height, canvas.width), np.uint8)
    cv2.fillPoly(hole, [cv2.boxPoints(box).astype(np.int32)], 255)
    pixels = np.clip(canvas.background, 0, 255).astype(np.uint8)
    filled = cv2.inpaint(pixels, hole, 3, cv2.INPAINT_TELEA).reshape(canvas.background.shape).astype(np.float32)
    filled += rng.normal(0, 0.5 * canvas.scale.variation, filled.shape).astype(np.float32)
    edge = (cv2.blur(hole, (3, 3)).astype(np.float32) / 255.0)[..., None]
    return np.asarray(canvas.background * (1 - edge) + filled * edge, np.float32)


def specks(canvas: Canvas, rng: np.random.Generator, difficulty: float) -> Pixels:
    """A handful of round pits or grains, scattered about the centre."""
    spread = 0.4 * canvas.diameter(rng, difficulty)
    change = np.zeros((canvas.height, canvas.width), np.float32)
    y, x = np.mgrid[: canvas.height, : canvas.width].astype(np.float32)
    strength = 1.4 * canvas.amount(rng, difficulty)
    for _ in range(int(rng.integers(1, 7))):
        cx, cy = canvas.centre + rng.normal(0, spread, 2)
        radius = float(rng.uniform(1.2, 1.8 + 0.03 * canvas.side * (1 - difficulty)))
        spot = strength * np.exp(-((((x - cx) ** 2 + (y - cy) ** 2) / radius**2) ** 2))
        change = np.maximum(change, spot.astype(np.float32))
    return _push(canvas, change if rng.random() < 0.3 else -change)


def stain(canvas: Canvas, rng: np.random.Generator, difficulty: float) -> Pixels:
    """A wide area, up to most of the view, of another brightness or polish; its outline is a slow wave about an ellipse."""
    radius = min(float(rng.uniform(0.8, 1.8)) * canvas.side, 0.45 * max(canvas.height, canvas.width))
    along, across = _grid(canvas, float(rng.uniform(0, np.pi)))
    across = across * np.float32(rng.uniform(1.0, 2.0))
    bearing = np.arctan2(across, along)
    outline: NDArray[np.floating] = np.ones_like(along)
    for waves in (2, 3, 5):
        outline = outline + np.float32(rng.normal(0, 0.3 / waves)) * np.cos(
            waves * bearing + np.float32(rng.uniform(0, 2 * np.pi))
        )
    softness = float(rng.uniform(0.04, 0.25))
    inside = 1.0 / (1.0 + np.exp(np.clip((np.hypot(along, across) / radius - outline) / softness, -30, 30)))
    change = canvas.amount(rng, difficulty) * 0.8 * max(1.0, canvas.scale.wide / canvas.scale.variation)
    if rng.random() < 0.7:
        return _push(canvas, (change * inside).astype(np.float32))
    mean = np.asarray(cv2.blur(canvas.background, (9, 9)), np.float32).reshape(canvas.background.shape)
    polished = mean + 0.25 * (canvas.background - mean) + 0.5 * change
    return np.asarray(canvas.background + inside[..., None] * (polished - canvas.background), np.float32)


def notch(canvas: Canvas, rng: np.random.Generator, difficulty: float) -> Pixels:
    """A bite out of the part's rim: a few overlapping discs, dark or bright, whichever is further from the surface."""
    radius = max(0.45 * canvas.diameter(rng, difficulty), 2.0)
    y, x = np.mgrid[: canvas.height, : canvas.width].astype(np.float32)
    bite = np.zeros((canvas.height, canvas.width), np.float32)
    for _ in range(int(rng.integers(1, 5))):
        cx, cy = canvas.centre + rng.normal(0, 0.6 * radius, 2)
        own = radius * float(rng.uniform(0.5, 1.0))
        bite = np.maximum(bite, np.clip(own - np.hypot(x - cx, y - cy) + 0.5, 0, 1))
    surface = float((canvas.background.mean(axis=2) * bite).sum() / (bite.sum() + 1e-6))
    dark, bright = canvas.scale.dark, canvas.scale.bright
    level = dark if surface - dark > bright - surface else bright
    step = np.sign(level - surface) * min(abs(level - surface), 1.5 * canvas.amount(rng, difficulty))
    rough = rng.normal(0, 0.4 * canvas.scale.variation, bite.shape).astype(np.float32)
    return np.asarray(np.clip(canvas.background + (bite * (step + rough))[..., None], 0, 255), np.float32)


def hairline(canvas: Canvas, rng: np.random.Generator, difficulty: float) -> Pixels:
    """A dark hair of a line, long and narrow at every difficulty, which is its contrast: a slow wave with a Gaussian profile
    (sigma 1/320 to 1/128 of the side) that fades out at one end. Half of them begin where the part ends."""
    length = canvas.side * float(rng.uniform(0.4, 1.2))
    angle = float(rng.uniform(0, 2 * np.pi))
    start = canvas.centre
    ends = rim(canvas.part, whole=True) if canvas.part is not None else np.zeros((0, 2), np.intp)
    if len(ends) and rng.random() < 0.5:
        start = ends[int(rng.integers(len(ends)))].astype(np.float64)
        towards = np.array([canvas.width, canvas.height]) / 2.0 - start
        angle = float(np.arctan2(towards[1], towards[0]) + rng.uniform(-1.0, 1.0))
    along, across = _grid(replace(canvas, centre=start), angle)
    wave = np.float32(rng.uniform(0.0, 0.06) * length) * np.sin(along * np.float32(2 * np.pi / (length * rng.uniform(0.7, 2.0))))
    width = max(float(rng.uniform(0.4, 1.0)) * canvas.side / 128.0, 0.5)
    profile = np.exp(-0.5 * ((across - wave) / np.float32(width)) ** 2)
    fading = np.clip((length - along) / (0.4 * length), 0.0, 1.0) * (along >= 0)
    change = canvas.amount(rng, difficulty) * profile * fading
    return np.asarray(np.clip(canvas.background - change[..., None].astype(np.float32), 0, 255), np.float32)


EXAMS: dict[str, Callable[[Canvas, np.random.Generator, float], Pixels]] = {
    "relief": relief,
    "dent": dent,
    "erase": erase,
    "specks": specks,
    "stain": stain,
    "notch": notch,
    "hairline": hairline,
}

EXAM_REACH: dict[str, float | None] = {
    "relief": 1.6, "dent": 1.2, "erase": 1.2, "specks": 2.2, "stain": None, "notch": 2.2, "hairline": None,
}  # fmt: skip
"""As ``REACH`` of the families that are trained on."""
