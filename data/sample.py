"""A sample product, rendered: a brushed plate with five bores and a printed mark, with and without defects.

For the demo and for tests, where no real images may be shipped. The plate is a height field, a reflectance and an ink layer
under one lamp; defects change those, and light does the rest: a scratch has a bright and a dark flank because it is a groove.
Nothing here is shared with ``data.defects``, so that a model trained on pseudo-defects meets something it has not seen.
"""

import csv
import io
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from core.errors import ChangeoverError

SIZE = 256
"""Side of an image in px."""
KINDS = ("scratch", "dent", "hole", "stain", "print")
VISIBLE = 5.0
"""Grey levels that a defect must change for a pixel to belong to its mask; the camera's noise is 1.6."""
TEST_SHARE = 0.25
_GOOD, _DEFECT = 1, 2  # streams of random numbers
_BORES = ((58.0, 58.0, 11.0), (198.0, 58.0, 11.0), (58.0, 198.0, 11.0), (198.0, 198.0, 11.0), (128.0, 104.0, 25.0))
_TEXT, _TEXT_AT, _GLYPH_WIDTH = "CH-40", (62, 186), 17


@dataclass(frozen=True)
class Plate:
    """One part before the camera, all float32 (SIZE, SIZE): what the lamp meets.

    ``height`` in px, ``reflectance`` 0..1, ``ink`` 0..1 (cover), ``body`` 0..1 (1 = plate, 0 = bore or surroundings).
    """

    height: np.ndarray
    reflectance: np.ndarray
    ink: np.ndarray
    body: np.ndarray


@dataclass(frozen=True)
class Pose:
    """Where the part lies and how it is lit: shift in px, turn in degrees, lamp direction in radians, exposure as a factor."""

    shift: tuple[float, float]
    turn: float
    lamp: float
    exposure: float
    glare: tuple[float, float]


def render_good(index: int, seed: int) -> np.ndarray:
    """Good part number ``index``: uint8 (256, 256, 1). The same numbers give the same picture."""
    rng = np.random.default_rng([seed, _GOOD, index])
    plate, pose = _plate(rng), _pose(rng)
    return _expose(_light(plate, pose), rng)


def render_defect(index: int, seed: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Defective part number ``index``: the image, uint8 (256, 256, 1), its mask, uint8 (256, 256) of 0 and 255, and the kind.

    Kinds take turns; from faint to plain at random. The mask is where the defect changes the picture visibly.
    """
    kind = KINDS[index % len(KINDS)]
    for attempt in range(20):  # one that nobody could see is drawn again
        rng = np.random.default_rng([seed, _DEFECT, index, attempt])
        plate, pose = _plate(rng), _pose(rng)
        before, after = _light(plate, pose), _light(_DRAW[kind](plate, rng), pose)
        changed = (np.abs(after - before) > VISIBLE).astype(np.uint8)
        mask = cv2.morphologyEx(changed, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7)))
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
        if mask.sum() >= 25:
            return _expose(after, rng), mask * np.uint8(255), kind
    raise AssertionError(f"no visible {kind} for index {index}, seed {seed}")


def write_sample(target: Path, good: int, defects: int, seed: int) -> None:
    """Write ``good/*.png``, ``defect/<kind>/*.png``, ``mask/<kind>/*.png`` and ``split.csv`` (file, split, group).

    The last quarter of the good images and all defects are ``test``, the other good ones ``train``; each image is a part of
    its own. ChangeoverError if ``target`` is there already and not empty.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ChangeoverError(f"{str(target)!r} is there already and not empty; give a new folder for the sample images")
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        lines = [("file", "split", "group")]
        trained = good - round(TEST_SHARE * good)
        for index in range(good):
            name = f"good/plate-{index:04d}.png"
            _write(folder / name, render_good(index, seed))
            lines.append((name, "train" if index < trained else "test", f"plate-{index:04d}"))
        for index in range(defects):
            image, mask, kind = render_defect(index, seed)
            name = f"{kind}/plate-d{index:04d}.png"
            _write(folder / "defect" / name, image)
            _write(folder / "mask" / name, mask)
            lines.append((f"defect/{name}", "test", f"plate-d{index:04d}"))
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(lines)
        (folder / "split.csv").write_text(text.getvalue(), encoding="utf-8")
        folder.chmod(0o755)
        folder.replace(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


# The part


def _plate(rng: np.random.Generator) -> Plate:
    """A good plate with the variation that manufacture leaves: brushing, tiny pits, worn print."""
    x, y = _grid()
    outline = _soft(13.0 - _box_distance(x, y, 108.0, 13.0), 1.2)
    bores = [_soft(radius - np.hypot(x - cx, y - cy), 0.9) for cx, cy, radius in _BORES]
    body = outline * np.prod([1 - bore for bore in bores], axis=0)
    height = 1.6 * _soft(8.0 - _box_distance(x, y, 108.0, 13.0), 3.0)
    for cx, cy, radius in _BORES:
        height -= 2.4 * _soft(radius + 2.4 - np.hypot(x - cx, y - cy), 1.3)  # chamfer
    return Plate(
        height=height.astype(np.float32),
        reflectance=(0.60 + _brushing(rng)).astype(np.float32),
        ink=_print(rng),
        body=body.astype(np.float32),
    )


def _brushing(rng: np.random.Generator) -> np.ndarray:
    """Marks of the brush along x, from fine grain to a few long lines, plus a slow cloudiness."""
    noise = rng.standard_normal((SIZE, SIZE)).astype(np.float32)
    grain = _unit(cv2.GaussianBlur(noise, (0, 0), sigmaX=9, sigmaY=0.5))
    coarse = _unit(cv2.GaussianBlur(rng.standard_normal((SIZE, SIZE)).astype(np.float32), (0, 0), sigmaX=34, sigmaY=1.1))
    cloud = _unit(cv2.GaussianBlur(rng.standard_normal((SIZE, SIZE)).astype(np.float32), (0, 0), sigmaX=30))
    return np.asarray(0.020 * grain + 0.020 * coarse + 0.012 * cloud)


def _print(rng: np.random.Generator) -> np.ndarray:
    """Cover of ink: name and a code of squares, which is the same on every part, worn differently on each."""
    ink = np.zeros((SIZE * 4, SIZE * 4), np.uint8)  # drawn large and scaled down: smooth edges
    for place, glyph in enumerate(_TEXT):
        at = (4 * (_TEXT_AT[0] + place * _GLYPH_WIDTH), 4 * _TEXT_AT[1])
        cv2.putText(ink, glyph, at, cv2.FONT_HERSHEY_DUPLEX, 2.9, 255, 9, cv2.LINE_AA)
    code = np.random.default_rng(40).integers(0, 2, (8, 8))  # the product's, not the part's
    code[:, 0] = code[-1] = 1
    for row, column in zip(*np.nonzero(code), strict=True):
        left, top = 4 * (151 + 3 * int(column)), 4 * (164 + 3 * int(row))
        cv2.rectangle(ink, (left, top), (left + 11, top + 11), 255, -1)
    cover = cv2.resize(ink, (SIZE, SIZE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    wear = _unit(cv2.GaussianBlur(rng.standard_normal((SIZE, SIZE)).astype(np.float32), (0, 0), sigmaX=3.0, sigmaY=1.2))
    strength = rng.uniform(0.78, 0.95)
    return np.asarray(cover * np.clip(strength - 0.10 * np.maximum(wear - 0.6, 0), 0, 1), np.float32)


# The camera


def _pose(rng: np.random.Generator) -> Pose:
    """How a fixture lets a part lie, and how a lamp ages."""
    return Pose(
        shift=(float(rng.normal(0, 1.3)), float(rng.normal(0, 1.3))),
        turn=float(rng.normal(0, 0.5)),
        lamp=float(np.deg2rad(-125 + rng.normal(0, 5))),
        exposure=float(rng.normal(1.0, 0.035)),
        glare=(float(rng.normal(90, 14)), float(rng.normal(70, 8))),
    )


def _light(plate: Plate, pose: Pose) -> np.ndarray:
    """The picture before noise, float32 (SIZE, SIZE) in grey levels."""
    x, y = _grid()
    slope_y, slope_x = np.gradient(plate.height)
    toward = slope_x * np.cos(pose.lamp) + slope_y * np.sin(pose.lamp)  # a flank that faces the lamp is brighter
    shade = np.clip(1 - 0.9 * toward, 0.25, 1.9)
    metal = plate.reflectance * shade * (1 - 0.80 * plate.ink)
    glare = 0.13 * np.exp(-(((y - pose.glare[0]) / pose.glare[1]) ** 2)) * (0.85 + 0.3 * x / SIZE)
    metal = metal + glare * (1 - 0.85 * plate.ink) * np.clip(shade, 0.5, 1.3)
    scene = metal * plate.body + 0.085 * (1 - plate.body)  # bores and the fixture's floor are dark
    turn = cv2.getRotationMatrix2D((SIZE / 2, SIZE / 2), pose.turn, 1.0)
    turn[:, 2] += np.asarray(pose.shift)
    seen = cv2.warpAffine(scene.astype(np.float32), turn, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    seen = cv2.GaussianBlur(seen, (0, 0), 0.7)  # the lens
    vignette = 1 - 0.10 * (((x - SIZE / 2) ** 2 + (y - SIZE / 2) ** 2) / (SIZE / 2) ** 2)
    return np.asarray(235 * pose.exposure * seen * vignette, np.float32)


def _expose(levels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The sensor: shot and read noise, 8 bits. uint8 (SIZE, SIZE, 1)."""
    noisy = levels + rng.standard_normal(levels.shape) * np.sqrt(1.0 + 0.012 * np.maximum(levels, 0))
    return np.asarray(np.clip(np.rint(noisy), 0, 255), np.uint8)[:, :, None]


# The defects


def _scratch(plate: Plate, rng: np.random.Generator) -> Plate:
    """A groove with a thrown-up rim along a bent path, deeper in its middle; sometimes with a second one beside it."""
    height, reflectance = plate.height.copy(), plate.reflectance.copy()
    depth, width = rng.uniform(0.5, 2.2), rng.uniform(0.6, 1.2)
    middle, heading, length = _spot(plate, rng, 24), rng.uniform(0, 2 * np.pi), rng.uniform(28, 95)
    drift, wave = rng.normal(0, 0.010), rng.uniform(9, 20)
    for offset in (0.0, rng.uniform(4, 7)) if rng.random() < 0.3 else (0.0,):
        steps = np.arange(0, length, 0.5)
        bend = heading + drift * (steps - length / 2) + 0.05 * np.sin(steps / wave)
        px = middle[0] - offset * np.sin(heading) + np.cumsum(0.5 * np.cos(bend)) - length / 2 * np.cos(heading)
        py = middle[1] + offset * np.cos(heading) + np.cumsum(0.5 * np.sin(bend)) - length / 2 * np.sin(heading)
        pressure = np.sin(np.pi * (np.arange(len(steps)) + 1) / (len(steps) + 1)) ** 0.5 * (
            1 + 0.25 * rng.standard_normal(len(steps))
        )
        distance, nearest = _to_path(px, py, reach=8)
        force = depth * np.clip(cv2.GaussianBlur(pressure[None].astype(np.float32), (0, 0), 3)[0], 0.1, 2)[nearest]
        groove = np.exp(-((distance / width) ** 2)) - 0.45 * np.exp(-(((distance - 2.0 * width) / width) ** 2))
        height -= (force * groove).astype(np.float32)
        reflectance += (0.05 * force * np.exp(-((distance / width) ** 2))).astype(np.float32)  # bare metal
    return replace(plate, height=height, reflectance=reflectance)


def _dent(plate: Plate, rng: np.random.Generator) -> Plate:
    """A smooth hollow of uneven outline with a slight wall; the brushing inside is pressed flat."""
    x, y = _grid()
    cx, cy = _spot(plate, rng, 16)
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
    x, y = _grid()
    cx, cy, radius = _BORES[rng.integers(0, 4)]
    away = np.hypot(x - cx, y - cy)
    choice = rng.integers(0, 3)
    if choice < 2:
        closed = _soft(radius + 6 - away, 1.5)  # undo bore and chamfer
        body = np.maximum(plate.body, closed).astype(np.float32)
        height = (plate.height * (1 - closed) + 1.6 * closed).astype(np.float32)
        if choice == 1:
            angle, shift = rng.uniform(0, 2 * np.pi), rng.uniform(3.0, 7.5)
            away = np.hypot(x - cx - shift * np.cos(angle), y - cy - shift * np.sin(angle))
            body = (body * (1 - _soft(radius - away, 0.9))).astype(np.float32)
            height = (height - 2.4 * _soft(radius + 2.4 - away, 1.3)).astype(np.float32)
        return replace(plate, body=body, height=height)
    theta = np.arctan2(y - cy, x - cx)
    centre, spread = rng.uniform(-np.pi, np.pi), rng.uniform(0.3, 0.9)
    sector = np.exp(-((np.angle(np.exp(1j * (theta - centre))) / spread) ** 2))
    rough = sum(np.sin(k * theta + rng.uniform(0, 6.3)) / k**0.5 for k in (7, 13, 19, 29))
    reach = radius - sector * rng.uniform(2.5, 5.0) * np.clip(0.7 + 0.35 * rough, 0, 2)  # metal that hangs into the bore
    burr = _soft(away - reach, 0.7) * _soft(radius + 1.5 - away, 0.8) * (sector > 0.15)
    return replace(
        plate,
        body=np.maximum(plate.body, burr).astype(np.float32),
        height=(plate.height + 1.4 * burr * (1 + 0.4 * rough)).astype(np.float32),
        reflectance=(plate.reflectance + burr * (0.14 + 0.05 * rough)).astype(np.float32),
    )


def _stain(plate: Plate, rng: np.random.Generator) -> Plate:
    """A film of oil or dried coolant: darker, of ragged outline, with a darker line where its edge dried."""
    x, y = _grid()
    cx, cy = _spot(plate, rng, 12)
    radius = rng.uniform(8, 26)
    wobble = _unit(cv2.GaussianBlur(rng.standard_normal((SIZE, SIZE)).astype(np.float32), (0, 0), radius / 3.5))
    squeeze = rng.uniform(0.6, 1.5)
    inside = radius * (1 + 0.28 * wobble) - np.hypot((x - cx) * squeeze, (y - cy) / squeeze)
    film = _soft(inside, 1.6)
    edge = np.exp(-(((inside - 1.5) / 1.6) ** 2))
    depth = rng.uniform(0.07, 0.22)
    blotches = 1 + 0.3 * _unit(cv2.GaussianBlur(rng.standard_normal((SIZE, SIZE)).astype(np.float32), (0, 0), 4))
    dimming = depth * (0.75 * film * blotches + 0.8 * edge)
    return replace(plate, reflectance=(plate.reflectance * (1 - np.clip(dimming, -0.1, 0.6))).astype(np.float32))


def _misprint(plate: Plate, rng: np.random.Generator) -> Plate:
    """A glyph that is missing, or wet ink that was dragged along."""
    ink = plate.ink.copy()
    left, base = _TEXT_AT
    if rng.random() < 0.45:
        place = int(rng.choice([0, 1, 3, 4]))  # the hyphen is no loss to see
        start = left + place * _GLYPH_WIDTH - 1
        ink[base - 20 : base + 4, start : start + _GLYPH_WIDTH] *= np.float32(rng.uniform(0.0, 0.35))
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
    streaks = 0.75 + 0.25 * _unit(
        cv2.GaussianBlur(rng.standard_normal((SIZE, SIZE)).astype(np.float32), (0, 0), sigmaX=12, sigmaY=0.8)
    )
    strength = rng.uniform(1.2, 2.6)
    return replace(plate, ink=np.clip(ink * (1 - 0.35 * window) + strength * dragged * streaks, 0, 0.95).astype(np.float32))


_DRAW: dict[str, Callable[[Plate, np.random.Generator], Plate]] = {
    "scratch": _scratch,
    "dent": _dent,
    "hole": _hole,
    "stain": _stain,
    "print": _misprint,
}


# Geometry


def _grid() -> tuple[np.ndarray, np.ndarray]:
    """x and y of every pixel, float64 (SIZE, SIZE)."""
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(float)
    return x, y


def _box_distance(x: np.ndarray, y: np.ndarray, half: float, corner: float) -> np.ndarray:
    """Distance in px from the inner box of a rounded square around the centre: at most ``corner`` inside the square."""
    dx = np.abs(x - SIZE / 2) - (half - corner)
    dy = np.abs(y - SIZE / 2) - (half - corner)
    return np.asarray(np.hypot(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(np.maximum(dx, dy), 0))


def _soft(signed: np.ndarray, width: float) -> np.ndarray:
    """1 where ``signed`` is positive, 0 where negative, with a soft edge ``width`` px wide."""
    return np.asarray(1 / (1 + np.exp(-np.clip(signed / (0.35 * width), -40, 40))))


def _unit(field: np.ndarray) -> np.ndarray:
    """The field with mean 0 and standard deviation 1."""
    return np.asarray((field - field.mean()) / field.std())


def _spot(plate: Plate, rng: np.random.Generator, margin: int) -> tuple[float, float]:
    """A random place (x, y) on bare metal, ``margin`` px from the image's edge and clear of bores."""
    free = cv2.erode((plate.body > 0.95).astype(np.uint8), np.ones((7, 7), np.uint8))
    free[:margin], free[-margin:], free[:, :margin], free[:, -margin:] = 0, 0, 0, 0
    ys, xs = np.nonzero(free)
    chosen = rng.integers(0, len(xs))
    return float(xs[chosen]), float(ys[chosen])


def _to_path(px: np.ndarray, py: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel its distance to the nearest point of a path, and that point's number; beyond ``reach`` px, far away."""
    x, y = _grid()
    distance = np.full((SIZE, SIZE), 1e3)
    nearest = np.zeros((SIZE, SIZE), np.int64)
    left, right = max(int(px.min() - reach), 0), min(int(px.max() + reach) + 1, SIZE)
    top, bottom = max(int(py.min() - reach), 0), min(int(py.max() + reach) + 1, SIZE)
    if left >= right or top >= bottom:
        return distance, nearest
    box = np.s_[top:bottom, left:right]
    away = np.hypot(x[box][..., None] - px, y[box][..., None] - py)  # (h, w, points)
    nearest[box], distance[box] = away.argmin(axis=-1), away.min(axis=-1)
    return distance, nearest
