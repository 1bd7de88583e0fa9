"""A sample plate before the camera: brushed, with five bores and a printed mark, under one lamp."""

from dataclasses import dataclass

import cv2
import numpy as np

from data.sample.geometry import SIZE, box_distance, grid, soft, unit

BORES = ((58.0, 58.0, 11.0), (198.0, 58.0, 11.0), (58.0, 198.0, 11.0), (198.0, 198.0, 11.0), (128.0, 104.0, 25.0))
TEXT, TEXT_AT, GLYPH_WIDTH = "CH-40", (62, 186), 17


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


def plate_of(rng: np.random.Generator) -> Plate:
    """A good plate with the variation that manufacture leaves: brushing, tiny pits, worn print."""
    x, y = grid()
    outline = soft(13.0 - box_distance(x, y, 108.0, 13.0), 1.2)
    bores = [soft(radius - np.hypot(x - cx, y - cy), 0.9) for cx, cy, radius in BORES]
    body = outline * np.prod([1 - bore for bore in bores], axis=0)
    height = 1.6 * soft(8.0 - box_distance(x, y, 108.0, 13.0), 3.0)
    for cx, cy, radius in BORES:
        height -= 2.4 * soft(radius + 2.4 - np.hypot(x - cx, y - cy), 1.3)  # chamfer
    return Plate(
        height=height.astype(np.float32),
        reflectance=(0.60 + _brushing(rng)).astype(np.float32),
        ink=_print(rng),
        body=body.astype(np.float32),
    )


def _brushing(rng: np.random.Generator) -> np.ndarray:
    """Marks of the brush along x, from fine grain to a few long lines, plus a slow cloudiness."""
    noise = rng.standard_normal((SIZE, SIZE)).astype(np.float32)
    grain = unit(cv2.GaussianBlur(noise, (0, 0), sigmaX=9, sigmaY=0.5))
    coarse = unit(cv2.GaussianBlur(rng.standard_normal((SIZE, SIZE)).astype(np.float32), (0, 0), sigmaX=34, sigmaY=1.1))
    cloud = unit(cv2.GaussianBlur(rng.standard_normal((SIZE, SIZE)).astype(np.float32), (0, 0), sigmaX=30))
    return np.asarray(0.020 * grain + 0.020 * coarse + 0.012 * cloud)


def _print(rng: np.random.Generator) -> np.ndarray:
    """Cover of ink: name and a code of squares, which is the same on every part, worn differently on each."""
    ink = np.zeros((SIZE * 4, SIZE * 4), np.uint8)  # drawn large and scaled down: smooth edges
    for place, glyph in enumerate(TEXT):
        at = (4 * (TEXT_AT[0] + place * GLYPH_WIDTH), 4 * TEXT_AT[1])
        cv2.putText(ink, glyph, at, cv2.FONT_HERSHEY_DUPLEX, 2.9, 255, 9, cv2.LINE_AA)
    code = np.random.default_rng(40).integers(0, 2, (8, 8))  # the product's, not the part's
    code[:, 0] = code[-1] = 1
    for row, column in zip(*np.nonzero(code), strict=True):
        left, top = 4 * (151 + 3 * int(column)), 4 * (164 + 3 * int(row))
        cv2.rectangle(ink, (left, top), (left + 11, top + 11), 255, -1)
    cover = cv2.resize(ink, (SIZE, SIZE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    wear = unit(cv2.GaussianBlur(rng.standard_normal((SIZE, SIZE)).astype(np.float32), (0, 0), sigmaX=3.0, sigmaY=1.2))
    strength = rng.uniform(0.78, 0.95)
    return np.asarray(cover * np.clip(strength - 0.10 * np.maximum(wear - 0.6, 0), 0, 1), np.float32)


def pose_of(rng: np.random.Generator) -> Pose:
    """How a fixture lets a part lie, and how a lamp ages."""
    return Pose(
        shift=(float(rng.normal(0, 1.3)), float(rng.normal(0, 1.3))),
        turn=float(rng.normal(0, 0.5)),
        lamp=float(np.deg2rad(-125 + rng.normal(0, 5))),
        exposure=float(rng.normal(1.0, 0.035)),
        glare=(float(rng.normal(90, 14)), float(rng.normal(70, 8))),
    )


def light(plate: Plate, pose: Pose) -> np.ndarray:
    """The picture before noise, float32 (SIZE, SIZE) in grey levels."""
    x, y = grid()
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


def expose(levels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The sensor: shot and read noise, 8 bits. uint8 (SIZE, SIZE, 1)."""
    noisy = levels + rng.standard_normal(levels.shape) * np.sqrt(1.0 + 0.012 * np.maximum(levels, 0))
    return np.asarray(np.clip(np.rint(noisy), 0, 255), np.uint8)[:, :, None]
