"""Families of pseudo-defects that detectors train on: each draws one defect on a canvas.

A family is a function ``(canvas, rng, difficulty) -> image`` (H, W, C) float32, 0..255. The label is not theirs to give: it
follows from the change (``data.defects.blend``). Difficulty 0 is large, strong and crisp; 1 is small, faint and blended.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from data.defects import fills, shapes
from data.defects.blend import alpha_blend, poisson_blend
from data.defects.canvas import Canvas
from data.defects.lines import crack, machining_direction, stroke

Pixels = NDArray[np.float32]


def _edge(rng: np.random.Generator, diameter: float, difficulty: float) -> float:
    """Softness of the edge in px: crisp or blended when easy, never crisper than the optics when hard."""
    return float(rng.uniform(0.0, 0.03 + 0.12 * difficulty)) * diameter + 0.5


def _fill(canvas: Canvas, rng: np.random.Generator, mask: Pixels, difficulty: float, diameter: float) -> Pixels:
    background = canvas.background
    if canvas.scale.binary and rng.random() < 0.8:
        return fills.palette(rng, background, mask, canvas.scale)
    change = fills.signed(rng, background, mask, canvas.amount(rng, difficulty))
    choice = int(rng.integers(4))
    if choice == 0:
        fill = fills.shifted(background, change)
    elif choice == 1:
        fill = fills.constant(background, mask, change)
    elif choice == 2:
        fill = fills.gradient(rng, background, change)
    else:
        fill = fills.mottled(rng, background, change, max(diameter / 4.0, 2.0))
    return fills.tinted(rng, fill, background)


def _drawn(canvas: Canvas, rng: np.random.Generator, mask: Pixels, difficulty: float, diameter: float) -> Pixels:
    if rng.random() < 0.7:
        mask = shapes.elastic(rng, mask, 0.15 * diameter, max(diameter / 3.0, 3.0))
    mask = shapes.soften(mask, _edge(rng, diameter, difficulty))
    return alpha_blend(canvas.background, _fill(canvas, rng, mask, difficulty, diameter), mask)


def bezier(canvas: Canvas, rng: np.random.Generator, difficulty: float) -> Pixels:
    """A closed Bézier blob with a grey, gradient or mottled fill."""
    diameter = canvas.diameter(rng, difficulty)
    return _drawn(
        canvas, rng, shapes.bezier_blob(rng, canvas.height, canvas.width, canvas.centre, diameter), difficulty, diameter
    )


def hull(canvas: Canvas, rng: np.random.Generator, difficulty: float) -> Pixels:
    """The convex hull of Gaussian points, filled likewise."""
    diameter = canvas.diameter(rng, difficulty)
    return _drawn(
        canvas, rng, shapes.gaussian_hull(rng, canvas.height, canvas.width, canvas.centre, diameter), difficulty, diameter
    )


def perlin(canvas: Canvas, rng: np.random.Generator, difficulty: float) -> Pixels:
    """Ragged islands of thresholded noise, filled likewise or with a donor's texture."""
    diameter = canvas.diameter(rng, difficulty)
    mask = shapes.soften(
        shapes.perlin(rng, canvas.height, canvas.width, canvas.centre, diameter), _edge(rng, diameter, difficulty)
    )
    fill = canvas.donor if rng.random() < 0.3 and not canvas.scale.textured else _fill(canvas, rng, mask, difficulty, diameter)
    return alpha_blend(canvas.background, fill, mask)


def patch(canvas: Canvas, rng: np.random.Generator, difficulty: float) -> Pixels:
    """A part of another good image, moved and resized, under a random shape; Poisson or alpha blending (NSA, Schlüter 2022)."""
    diameter = canvas.diameter(rng, difficulty)
    zoom = float(rng.uniform(0.7, 1.4))
    turn = float(rng.choice([0.0, 0.0, 90.0, 180.0, rng.uniform(0, 360)]))
    about = (canvas.width / 2.0, canvas.height / 2.0)
    matrix = cv2.getRotationMatrix2D(about, turn, zoom)
    moved = cv2.warpAffine(
        canvas.donor, matrix, (canvas.width, canvas.height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    fill = np.asarray(moved, np.float32).reshape(canvas.background.shape)
    draw = shapes.bezier_blob if rng.random() < 0.5 else shapes.gaussian_hull
    mask = draw(rng, canvas.height, canvas.width, canvas.centre, 1.2 * diameter)
    if rng.random() < 0.4 and not canvas.scale.binary:
        return poisson_blend(canvas.background, fill, mask)
    return alpha_blend(canvas.background, fill, shapes.soften(mask, _edge(rng, diameter, difficulty)))


def region(canvas: Canvas, rng: np.random.Generator, difficulty: float) -> Pixels:
    """A large part of the picture of another brightness, contrast or texture: polish, stain, uneven grinding. Half of them end in
    a nearly straight line, as what was worked in two passes does; the sharper the border, the smaller the change that is seen."""
    if rng.random() < 0.5:
        direction = machining_direction(canvas.background) + float(rng.normal(0, 0.1)) + 0.5 * np.pi * int(rng.integers(2))
        mask = shapes.half(rng, canvas.height, canvas.width, canvas.centre, direction, canvas.side)
        softness, unit = float(rng.uniform(0.3, 3.0)), canvas.scale.variation
    else:
        mask = shapes.perlin(rng, canvas.height, canvas.width, canvas.centre, canvas.side * float(rng.uniform(0.5, 1.2)))
        softness = float(rng.uniform(0.01, 0.08)) * canvas.side
        unit = max(canvas.scale.variation, canvas.scale.wide)
    mask = shapes.soften(mask, softness)
    amount = 0.7 * canvas.amount(rng, difficulty) * unit / canvas.scale.variation
    change = fills.signed(rng, canvas.background, mask, amount)
    choice = int(rng.integers(4))
    if choice == 0:
        fill = fills.shifted(canvas.background, change)
    elif choice == 1:
        fill = fills.shifted(fills.flattened(canvas.background, float(rng.uniform(1.0, 4.0))), 0.5 * change)
    elif choice == 2:
        mean = fills.flattened(canvas.background, 8.0)
        fill = fills.shifted(mean + (canvas.background - mean) * np.float32(rng.uniform(1.8, 3.5)), 0.3 * change)
    else:  # more or less light comes back: brighter and richer in contrast, or darker and duller
        gain = 1.0 + change / max(float(canvas.background.mean()), 16.0)
        fill = canvas.background * np.float32(np.clip(gain, 0.3, 3.0))
    return alpha_blend(canvas.background, fills.tinted(rng, fill, canvas.background), mask)


def warp(canvas: Canvas, rng: np.random.Generator, difficulty: float) -> Pixels:
    """Local deformation: the structure bulges, pinches or is pushed aside."""
    diameter = 1.3 * canvas.diameter(rng, difficulty)
    push = diameter * float(rng.uniform(0.15, 0.35))
    y, x = np.mgrid[: canvas.height, : canvas.width].astype(np.float32)
    dx, dy = x - canvas.centre[0], y - canvas.centre[1]
    bell = np.exp(-(dx**2 + dy**2) / (2 * (diameter / 2.5) ** 2))
    kind, angle = int(rng.integers(3)), rng.uniform(0, 2 * np.pi)
    if kind == 0:
        x, y = x + push * np.cos(angle) * bell, y + push * np.sin(angle) * bell
    else:
        factor = bell * float(rng.uniform(0.3, 0.7)) * (1.0 if kind == 1 else -1.0)
        x, y = x + dx * factor, y + dy * factor
    warped = cv2.remap(
        canvas.background, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(warped, np.float32).reshape(canvas.background.shape)


def structure(canvas: Canvas, rng: np.random.Generator, difficulty: float) -> Pixels:
    """Structure doubled (a neighbour's pixels laid here) or missing (the surroundings' grey laid over it)."""
    diameter = 1.2 * canvas.diameter(rng, difficulty)
    mask = shapes.bezier_blob(rng, canvas.height, canvas.width, canvas.centre, diameter)
    mask = shapes.soften(mask, _edge(rng, diameter, difficulty))
    if rng.random() < 0.6:
        angle, distance = rng.uniform(0, 2 * np.pi), max(diameter * float(rng.uniform(0.4, 1.5)), 4.0)
        matrix = np.array([[1, 0, distance * np.cos(angle)], [0, 1, distance * np.sin(angle)]], np.float32)
        moved = cv2.warpAffine(canvas.background, matrix, (canvas.width, canvas.height), borderMode=cv2.BORDER_REFLECT_101)
        fill = np.asarray(moved, np.float32).reshape(canvas.background.shape)
    else:
        ring = cv2.dilate(mask, np.ones((7, 7), np.uint8)) - mask
        around = (
            canvas.background[ring > 0.2] if (ring > 0.2).any() else canvas.background.reshape(-1, canvas.background.shape[2])
        )
        level = np.quantile(around, float(rng.uniform(0.1, 0.9)), axis=0).astype(np.float32)  # (C,)
        grain = canvas.background - fills.flattened(canvas.background, 2.0)
        fill = level + grain
    return alpha_blend(canvas.background, fill, mask)


def chip(canvas: Canvas, rng: np.random.Generator, difficulty: float) -> Pixels:
    """A piece broken off at the part's rim: the background shows, or the rough fracture where there is none in view."""
    diameter = 1.2 * canvas.diameter(rng, difficulty)
    draw = shapes.bezier_blob if rng.random() < 0.5 else shapes.gaussian_hull
    mask = draw(rng, canvas.height, canvas.width, canvas.centre, diameter)
    mask = shapes.elastic(rng, mask, 0.2 * diameter, max(diameter / 4.0, 2.0))
    fill = None
    if canvas.part is not None:
        mask = mask * canvas.part
        if not canvas.part.all() and rng.random() < 0.7:
            beside = np.median(canvas.background[~canvas.part], axis=0).astype(np.float32)  # (C,)
            grain = canvas.background - fills.flattened(canvas.background, 2.0)
            fill = beside + 0.3 * grain
    mask = shapes.soften(mask, float(rng.uniform(0.3, 1.0)))
    return alpha_blend(canvas.background, _fill(canvas, rng, mask, difficulty, diameter) if fill is None else fill, mask)


def library(canvas: Canvas, rng: np.random.Generator, difficulty: float) -> Pixels:
    """A cut-out of the plant's own library, turned, resized and blended in; the more transparent, the harder."""
    if not canvas.library:
        return canvas.background
    cutout = canvas.library[int(rng.integers(len(canvas.library)))]
    height, width = cutout.mask.shape
    zoom = float(np.clip(canvas.diameter(rng, difficulty) / max(height, width) * rng.uniform(1.0, 1.6), 0.05, 2.0))
    matrix = cv2.getRotationMatrix2D((width / 2.0, height / 2.0), float(rng.uniform(0, 360)), zoom)
    matrix[:, 2] += canvas.centre - [width / 2.0, height / 2.0]
    size = (canvas.width, canvas.height)
    fill = cv2.warpAffine(cutout.image, matrix, size, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    mask = np.asarray(cv2.warpAffine(cutout.mask, matrix, size, flags=cv2.INTER_LINEAR), np.float32)
    fill = np.asarray(fill, np.float32).reshape(canvas.background.shape)
    if rng.random() < 0.4 and not canvas.scale.binary:
        return poisson_blend(canvas.background, fill, mask)
    opacity = 1.0 - 0.6 * difficulty * float(rng.uniform(0.5, 1.0))
    return alpha_blend(canvas.background, fill, np.float32(opacity) * shapes.soften(mask, 0.7))


Family = Callable[[Canvas, np.random.Generator, float], Pixels]
FAMILIES: dict[str, Family] = {
    "bezier": bezier,
    "hull": hull,
    "stroke": stroke,
    "crack": crack,
    "patch": patch,
    "perlin": perlin,
    "region": region,
    "warp": warp,
    "structure": structure,
    "chip": chip,
    "library": library,
}

REACH: dict[str, float | None] = {
    "bezier": 1.0, "hull": 1.2, "stroke": 2.5, "crack": None, "patch": 1.2, "perlin": 1.2, "region": None, "warp": 2.2,
    "structure": 1.2, "chip": 1.4, "library": 1.2,
}  # fmt: skip
"""How far from its centre a defect can change anything, in its largest diameters; None: anywhere."""
