"""Where a pseudo-defect is: soft masks (H, W) float32 in 0..1.

Sources: closed Bézier splines and elastic deformation (Simard 2003) from a Chinese-language competition report on defect
detection (seed ``002``); the convex hull of points drawn from a bivariate Gaussian likewise; Perlin noise as in DRAEM (Zavrtanik
2021)."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.float32]
Points = NDArray[np.float64]
_SUBPIXEL = 4  # fractional bits for cv2's anti-aliased drawing


def _fill(points: Points, height: int, width: int) -> Mask:
    mask = np.zeros((height, width), np.uint8)
    fixed = np.round(points * (1 << _SUBPIXEL)).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 255, cv2.LINE_AA, _SUBPIXEL)
    return mask.astype(np.float32) / 255.0


def bezier_points(anchors: Points, samples: int = 16) -> Points:
    """A closed, smooth curve of cubic Bézier segments through ``anchors`` (n, 2), as (n * samples, 2) points.

    The inner control points are those of the Catmull-Rom spline, which makes the joints continuous in slope.
    """
    before, after = np.roll(anchors, 1, axis=0), np.roll(anchors, -1, axis=0)
    following = np.roll(anchors, -2, axis=0)
    first, second = anchors + (after - before) / 6.0, after - (following - anchors) / 6.0
    t = np.linspace(0.0, 1.0, samples, endpoint=False)[None, :, None]
    curve = (
        (1 - t) ** 3 * anchors[:, None]
        + 3 * (1 - t) ** 2 * t * first[:, None]
        + 3 * (1 - t) * t**2 * second[:, None]
        + t**3 * after[:, None]
    )
    return np.asarray(curve.reshape(-1, 2))


def bezier_blob(rng: np.random.Generator, height: int, width: int, centre: Points, diameter: float) -> Mask:
    """A closed Bézier curve through 4 to 8 points at random angles and distances about ``centre`` (x, y)."""
    count = int(rng.integers(4, 9))
    angles = np.sort(rng.uniform(0, 2 * np.pi, count))
    radii = 0.5 * diameter * rng.uniform(0.45, 1.2, count)
    squeeze = rng.uniform(0.35, 1.0)
    turn = rng.uniform(0, np.pi)
    ring = np.stack([radii * np.cos(angles), squeeze * radii * np.sin(angles)], 1)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return _fill(bezier_points(centre + ring @ rotation.T), height, width)


def gaussian_hull(rng: np.random.Generator, height: int, width: int, centre: Points, diameter: float) -> Mask:
    """The convex hull of points from a bivariate Gaussian: its mean is the place, its covariance the size."""
    spread = diameter / 4.0
    turn, ratio = rng.uniform(0, np.pi), rng.uniform(0.25, 1.0)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = centre + (rng.standard_normal((int(rng.integers(8, 30)), 2)) * [spread, ratio * spread]) @ rotation.T
    hull = cv2.convexHull(points.astype(np.float32)).reshape(-1, 2)
    return _fill(hull.astype(np.float64), height, width)


def stroke(
    rng: np.random.Generator, height: int, width: int, centre: Points, length: float, thickness: float, direction: float
) -> Mask:
    """A scratch or crack: a walk of ``length`` px that sets out in ``direction`` (radians) and wanders, of varying thickness."""
    steps = max(int(length / 3.0), 4)
    bend = rng.normal(0, rng.choice([0.01, 0.06, 0.25]), steps).cumsum()
    angle = direction + bend - bend.mean()
    path = np.stack([np.cos(angle), np.sin(angle)], 1).cumsum(0) * (length / steps)
    path += centre - path.mean(0)
    width_along = thickness * np.clip(
        1.0 + 0.5 * np.interp(np.arange(steps), np.linspace(0, steps, 5), rng.standard_normal(5)), 0.3, 2
    )
    if rng.random() < 0.5:  # tapering ends
        width_along = width_along * np.sin(np.linspace(0.15, np.pi - 0.15, steps))
    return _traced(height, width, [(path, width_along, np.ones(steps))], thickness)


def _traced(height: int, width: int, lines: Sequence[tuple[Points, Points, Points]], thickness: float) -> Mask:
    """Lines through points (n, 2), each with its width in px and its strength (0..1) at every point (n,). Where ``thickness`` is
    under 4 px they are drawn at 4-fold size: cv2's lines cannot be thinner than a pixel."""
    zoom = 4 if thickness < 4 else 1
    canvas = np.zeros((height * zoom, width * zoom), np.uint8)
    for path, wide, strength in lines:
        fixed = np.round(path * zoom * 16).astype(np.int32)
        for i in range(len(path) - 1):
            start, end = (int(fixed[i, 0]), int(fixed[i, 1])), (int(fixed[i + 1, 0]), int(fixed[i + 1, 1]))
            cv2.line(canvas, start, end, int(255 * strength[i]), max(round(wide[i] * zoom), 1), cv2.LINE_AA, _SUBPIXEL)
    if zoom > 1:
        canvas = np.asarray(cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    return canvas.astype(np.float32) / np.float32(255.0)


def crack(
    rng: np.random.Generator, height: int, width: int, centre: Points, length: float, thickness: float, direction: float
) -> Mask:
    """A jagged line by midpoint displacement, with gaps and up to two branches: how brittle surfaces break."""
    half = 0.5 * length * np.array([np.cos(direction), np.sin(direction)])
    lines = [jagged(rng, centre - half, centre + half, 0.25 * length)]
    for _ in range(int(rng.choice([0, 0, 1, 2]))):
        start = lines[0][int(rng.integers(len(lines[0])))]
        turn = direction + float(rng.choice([-1, 1])) * rng.uniform(0.4, 1.2)
        tip = start + rng.uniform(0.15, 0.5) * length * np.array([np.cos(turn), np.sin(turn)])
        lines.append(jagged(rng, start, tip, 0.1 * length))
    drawn = []
    for line in lines:
        knots = rng.standard_normal(len(line) // 4 + 2)
        strength = np.clip(0.75 + 0.5 * np.interp(np.arange(len(line)), 4 * np.arange(len(knots)), knots), 0, 1)
        drawn.append((line, thickness * (0.4 + 0.6 * strength), strength))
    return _traced(height, width, drawn, thickness)


def long_crack(
    rng: np.random.Generator, height: int, width: int, start: Points, length: float, thickness: float, direction: float
) -> Mask:
    """A line of ``length`` px from ``start`` on, smooth or finely jagged, its width and strength changing along it, that runs out
    at its end."""
    count = max(int(length / 2.0), 8)
    if rng.random() < 0.6:
        turn = rng.normal(0, rng.choice([0.01, 0.03, 0.08]), count).cumsum()
        angle = direction + turn - turn.mean()
        path = start + np.stack([np.cos(angle), np.sin(angle)], 1).cumsum(0) * (length / count)
    else:
        end = start + length * np.array([np.cos(direction), np.sin(direction)])
        path = jagged(rng, start, end, float(rng.uniform(0.03, 0.15)) * length)
        count = len(path)
    along = np.linspace(0.0, 1.0, count)
    knots = np.linspace(0.0, 1.0, 7)
    strength = np.clip(0.8 + 0.35 * np.interp(along, knots, rng.standard_normal(7)), 0.15, 1.0)
    strength = strength * np.clip((1.0 - along) / 0.25, 0.0, 1.0)
    wide = thickness * np.clip(0.85 + 0.3 * np.interp(along, knots, rng.standard_normal(7)), 0.4, 1.5)
    return _traced(height, width, [(path, wide, strength)], thickness)


def jagged(rng: np.random.Generator, start: Points, end: Points, roughness: float) -> Points:
    """Points from ``start`` to ``end``, (33, 2): each midpoint moved sideways by up to ``roughness`` px, half as
    much at every level."""
    line = np.stack([start, end])
    for _ in range(5):
        step = np.diff(line, axis=0)
        sideways = np.stack([-step[:, 1], step[:, 0]], 1) / np.maximum(np.linalg.norm(step, axis=1, keepdims=True), 1e-9)
        middle = line[:-1] + step / 2 + sideways * rng.normal(0, 0.5 * roughness, (len(step), 1))
        woven = np.empty((2 * len(line) - 1, 2))
        woven[::2], woven[1::2] = line, middle
        line, roughness = woven, roughness / 2
    return line


def smooth_noise(rng: np.random.Generator, height: int, width: int, cell: float) -> Mask:
    """Gradient-free lattice noise with features of ``cell`` px, (H, W), roughly in -1..1."""
    rows, columns = max(int(np.ceil(height / cell)) + 2, 3), max(int(np.ceil(width / cell)) + 2, 3)
    lattice = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)
    top, left = rng.uniform(0, 1, 2)
    # Cubic where it curves, six points a cell, and straight between them: bicubic warping is most of the cost.
    step = max(int(cell / 6.0), 1)
    matrix = np.array([[step / cell, 0, left], [0, step / cell, top]], np.float32)
    size = (-(-width // step) + 1, -(-height // step) + 1)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    noise = np.asarray(cv2.warpAffine(lattice, matrix, size, flags=flags, borderMode=cv2.BORDER_REFLECT), np.float32)
    if step > 1:
        noise = np.asarray(cv2.resize(noise, (size[0] * step, size[1] * step), interpolation=cv2.INTER_LINEAR), np.float32)
    return noise[:height, :width]


def perlin(rng: np.random.Generator, height: int, width: int, centre: Points, diameter: float) -> Mask:
    """Thresholded octave noise inside a soft disc about ``centre``: ragged islands."""
    noise = smooth_noise(rng, height, width, max(diameter / 3.0, 2.0)) + 0.5 * smooth_noise(
        rng, height, width, max(diameter / 6.0, 1.5)
    )
    x, y = np.arange(width, dtype=np.float32) - np.float32(centre[0]), np.arange(height, dtype=np.float32) - np.float32(centre[1])
    distance = np.hypot(x[None], y[:, None]) / np.float32(0.5 * diameter)
    field = noise + 1.2 * (1.0 - distance)
    return np.asarray(np.clip(field * diameter / 8.0 + 0.5, 0.0, 1.0), np.float32)


def half(rng: np.random.Generator, height: int, width: int, centre: Points, direction: float, side: float) -> Mask:
    """What lies on one side of a nearly straight line through ``centre`` in ``direction`` (radians), or between it and a
    parallel one at a tenth to two thirds of ``side`` px: how a surface looks that was worked in two passes."""
    x = np.arange(width, dtype=np.float32) - np.float32(centre[0])
    y = np.arange(height, dtype=np.float32) - np.float32(centre[1])
    across = y[:, None] * np.float32(np.cos(direction)) - x[None] * np.float32(np.sin(direction))
    wave = smooth_noise(rng, height, width, float(rng.uniform(0.2, 1.0)) * side)
    across = across + np.float32(rng.uniform(0.0, 0.06) * side) * wave
    inside = np.clip(across + 0.5, 0.0, 1.0)
    if rng.random() < 0.5:
        inside = inside * np.clip(np.float32(rng.uniform(0.1, 0.67) * side) - across + 0.5, 0.0, 1.0)
    return np.asarray(inside, np.float32)


def elastic(rng: np.random.Generator, mask: Mask, amount: float, cell: float) -> Mask:
    """``mask`` with every point moved by smooth noise of at most about ``amount`` px (Simard 2003)."""
    height, width = mask.shape
    x = np.arange(width, dtype=np.float32)[None] + np.float32(amount) * smooth_noise(rng, height, width, cell)
    y = np.arange(height, dtype=np.float32)[:, None] + np.float32(amount) * smooth_noise(rng, height, width, cell)
    return np.asarray(cv2.remap(mask, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def soften(mask: Mask, sigma: float) -> Mask:
    """``mask`` with edges softened by a Gaussian kernel of ``sigma`` px; 0 leaves it crisp."""
    return mask if sigma < 0.2 else np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma), np.float32)
