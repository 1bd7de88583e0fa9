"""Defects of a sample plate: each changes its height, reflectance, ink or outline, and light does the rest."""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from data.sample.geometry import SIZE, grid, soft, to_path, unit
from data.sample.plate import BORES, GLYPH_WIDTH, TEXT_AT, Plate


def _scratch(plate: Plate, rng: np.random.Generator) -> Plate:
    """A groove with a thrown-up rim along a bent path, deeper in its middle; sometimes with a second one beside it."""
    height, reflectance = plate.height.copy(), plate.reflectance.copy()
    depth, width = rng.uniform(0.5, 2.2), rng.uniform(0.6, 1.2)
    middle, heading, length = spot(plate, rng, 24), rng.uniform(0, 2 * np.pi), rng.uniform(28, 95)
    drift, wave = rng.normal(0, 0.010), rng.uniform(9, 20)
    for offset in (0.0, rng.uniform(4, 7)) if rng.random() < 0.3 else (0.0,):
        steps = np.arange(0, length, 0.5)
        bend = heading + drift * (steps - length / 2) + 0.05 * np.sin(steps / wave)
        px = middle[0] - offset * np.sin(heading) + np.cumsum(0.5 * np.cos(bend)) - length / 2 * np.cos(heading)
        py = middle[1] + offset * np.cos(heading) + np.cumsum(0.5 * np.sin(bend)) - length / 2 * np.sin(heading)
        pressure = np.sin(np.pi * (np.arange(len(steps)) + 1) / (len(steps) + 1)) ** 0.5 * (
            1 + 0.25 * rng.standard_normal(len(steps))
        )
        distance, nearest = to_path(px, py, reach=8)
        force = depth * np.clip(cv2.GaussianBlur(pressure[None].astype(np.float32), (0, 0), 3)[0], 0.1, 2)[nearest]
        groove = np.exp(-((distance / width) ** 2)) - 0.45 * np.exp(-(((distance - 2.0 * width) / width) ** 2))
        height -= (force * groove).astype(np.float32)
        reflectance += (0.05 * force * np.exp(-((distance / width) ** 2))).astype(np.float32)  # bare metal
    return replace(plate, height=height, reflectance=reflectance)


def _dent(plate: Plate, rng: np.random.Generator) -> Plate:
    """A smooth hollow of uneven outline with a slight wall; the brushing inside is pressed flat."""
    x, y = grid()
    cx, cy = spot(plate, rng, 16)
    radius, stretch, angle = rng.uniform(4.5, 13), rng.uniform(0.65, 1.0), rng.uniform(0, np.pi)
    along = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
    across = (-(x - cx) * np.sin(angle) + (y - cy) * np.cos(angle)) / stretch
    bumps = sum(rng.normal(0, 0.04) * np.cos(k * np.arctan2(across, along) + rng.uniform(0, 6.3)) for k in (2, 3, 4))
    r = np.hypot(along, across) / (radius * (1 + bumps))
    hollow = np.exp(-(r**2) * 1.4) - 0.18 * np.exp(-(((r - 1.35) / 0.4) ** 2))
    depth = rng.uniform(0.10, 0.32) * radius
    inside = np.exp(-(r**4))
    smooth = cv2.GaussianBlur(plate.reflectance, (0, 0), 3)
    return replace(
        plate,
        height=(plate.height - depth * hollow).astype(np.float32),
        reflectance=(plate.reflectance * (1 - inside) + (smooth - 0.02) * inside).astype(np.float32),
    )


def _hole(plate: Plate, rng: np.random.Generator) -> Plate:
    """A bore that is missing, off its place, or has a burr of thrown-up metal on its rim."""
    x, y = grid()
    cx, cy, radius = BORES[rng.integers(0, 4)]
    away = np.hypot(x - cx, y - cy)
    choice = rng.integers(0, 3)
    if choice < 2:
        closed = soft(radius + 6 - away, 1.5)  # undo bore and chamfer
        body = np.maximum(plate.body, closed).astype(np.float32)
        height = (plate.height * (1 - closed) + 1.6 * closed).astype(np.float32)
        if choice == 1:
            angle, shift = rng.uniform(0, 2 * np.pi), rng.uniform(3.0, 7.5)
            away = np.hypot(x - cx - shift * np.cos(angle), y - cy - shift * np.sin(angle))
            body = (body * (1 - soft(radius - away, 0.9))).astype(np.float32)
            height = (height - 2.4 * soft(radius + 2.4 - away, 1.3)).astype(np.float32)
        return replace(plate, body=body, height=height)
    theta = np.arctan2(y - cy, x - cx)
    centre, spread = rng.uniform(-np.pi, np.pi), rng.uniform(0.3, 0.9)
    sector = np.exp(-((np.angle(np.exp(1j * (theta - centre))) / spread) ** 2))
    rough = sum(np.sin(k * theta + rng.uniform(0, 6.3)) / k**0.5 for k in (7, 13, 19, 29))
    reach = radius - sector * rng.uniform(2.5, 5.0) * np.clip(0.7 + 0.35 * rough, 0, 2)  # metal that hangs into the bore
    burr = soft(away - reach, 0.7) * soft(radius + 1.5 - away, 0.8) * (sector > 0.15)
    return replace(
        plate,
        body=np.maximum(plate.body, burr).astype(np.float32),
        height=(plate.height + 1.4 * burr * (1 + 0.4 * rough)).astype(np.float32),
        reflectance=(plate.reflectance + burr * (0.14 + 0.05 * rough)).astype(np.float32),
    )


def _stain(plate: Plate, rng: np.random.Generator) -> Plate:
    """A film of oil or dried coolant: darker, of ragged outline, with a darker line where its edge dried."""
    x, y = grid()
    cx, cy = spot(plate, rng, 12)
    radius = rng.uniform(8, 26)
    wobble = unit(cv2.GaussianBlur(rng.standard_normal((SIZE, SIZE)).astype(np.float32), (0, 0), radius / 3.5))
    squeeze = rng.uniform(0.6, 1.5)
    inside = radius * (1 + 0.28 * wobble) - np.hypot((x - cx) * squeeze, (y - cy) / squeeze)
    film = soft(inside, 1.6)
    edge = np.exp(-(((inside - 1.5) / 1.6) ** 2))
    depth = rng.uniform(0.07, 0.22)
    blotches = 1 + 0.3 * unit(cv2.GaussianBlur(rng.standard_normal((SIZE, SIZE)).astype(np.float32), (0, 0), 4))
    dimming = depth * (0.75 * film * blotches + 0.8 * edge)
    return replace(plate, reflectance=(plate.reflectance * (1 - np.clip(dimming, -0.1, 0.6))).astype(np.float32))


def _misprint(plate: Plate, rng: np.random.Generator) -> Plate:
    """A glyph that is missing, or wet ink that was dragged along."""
    ink = plate.ink.copy()
    left, base = TEXT_AT
    if rng.random() < 0.45:
        place = int(rng.choice([0, 1, 3, 4]))  # the hyphen is no loss to see
        start = left + place * GLYPH_WIDTH - 1
        ink[base - 20 : base + 4, start : start + GLYPH_WIDTH] *= np.float32(rng.uniform(0.0, 0.35))
        return replace(plate, ink=ink)
    reach = int(rng.integers(9, 26))
    trail = np.linspace(1, 0, reach, dtype=np.float32)[None] ** 1.3
    kernel = np.concatenate([np.zeros_like(trail), trail], axis=1)
    kernel /= kernel.sum()
    window = np.zeros_like(ink)
    top = base - 22 + int(rng.integers(0, 8))
    start = left + int(rng.integers(0, 40))
    window[top : top + int(rng.integers(10, 24)), start : start + int(rng.integers(28, 60))] = 1
    window = cv2.GaussianBlur(window, (0, 0), 1.5)
    dragged = cv2.filter2D(ink * window, -1, kernel[:, ::-1], borderType=cv2.BORDER_CONSTANT)
    streaks = 0.75 + 0.25 * unit(
        cv2.GaussianBlur(rng.standard_normal((SIZE, SIZE)).astype(np.float32), (0, 0), sigmaX=12, sigmaY=0.8)
    )
    strength = rng.uniform(1.2, 2.6)
    return replace(plate, ink=np.clip(ink * (1 - 0.35 * window) + strength * dragged * streaks, 0, 0.95).astype(np.float32))


DRAW: dict[str, Callable[[Plate, np.random.Generator], Plate]] = {
    "scratch": _scratch,
    "dent": _dent,
    "hole": _hole,
    "stain": _stain,
    "print": _misprint,
}


def spot(plate: Plate, rng: np.random.Generator, margin: int) -> tuple[float, float]:
    """A random place (x, y) on bare metal, ``margin`` px from the image's edge and clear of bores."""
    free = cv2.erode((plate.body > 0.95).astype(np.uint8), np.ones((7, 7), np.uint8))
    free[:margin], free[-margin:], free[:, :margin], free[:, -margin:] = 0, 0, 0, 0
    ys, xs = np.nonzero(free)
    chosen = rng.integers(0, len(xs))
    return float(xs[chosen]), float(ys[chosen])
