"""Drawing: from (recipe, seed, index) to a crop with its label, the same whatever the number of workers or their order."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data.defects import nuisance
from data.defects.blend import label_of_change
from data.defects.exam import EXAMS
from data.defects.families import FAMILIES, Canvas, Family
from data.defects.foreground import foreground
from data.defects.recipe import PATTERN_FAMILIES, Recipe
from data.defects.scale import BatchScale

Image = NDArray[np.uint8]
Pixels = NDArray[np.float32]
_TRIES = 4


@dataclass(frozen=True)
class Drawn:
    """One drawn crop or image.

    ``image``: (H, W, C) uint8. ``label``: (H, W) float32 in 0..1, the visible change; all zero where nothing was drawn.
    ``family``: name of the last family drawn, None on clean ones. ``difficulty``: 0..1. ``source``: index of the good image.
    """

    image: Image
    label: Pixels
    family: str | None
    difficulty: float
    source: int


def _crop(rng: np.random.Generator, image: Image, side: int) -> Image:
    height, width, _ = image.shape
    if height < side or width < side:
        image = np.asarray(
            cv2.copyMakeBorder(image, 0, max(side - height, 0), 0, max(side - width, 0), cv2.BORDER_REFLECT_101), np.uint8
        ).reshape(max(height, side), max(width, side), -1)
        height, width, _ = image.shape
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    return image[top : top + side, left : left + side]


def _turn(rng: np.random.Generator, image: Image, flips: bool) -> Image:
    if flips and rng.random() < 0.5:
        image = image[:, ::-1]
    if flips and rng.random() < 0.5:
        image = image[::-1]
    return image


def draw_crop(
    recipe: Recipe,
    scale: BatchScale,
    images: Sequence[Image],
    side: int,
    seed: int,
    index: int,
    difficulty: tuple[float, float] = (0.0, 1.0),
    flips: bool = True,
) -> Drawn:
    """Crop number ``index`` of the endless series that ``(recipe, seed)`` defines.

    ``images``: good images (H, W, C) uint8; ``side``: of the square crop in px; ``difficulty``: range to draw from (the
    curriculum).
    """
    rng = np.random.default_rng([seed, index])
    source = int(rng.integers(len(images)))
    background = _turn(rng, _crop(rng, images[source], side), flips).astype(np.float32)
    if rng.random() < 0.5:
        background = nuisance.shift(rng, background, recipe.nuisance)
    level, family = 0.0, None
    label = np.zeros(background.shape[:2], np.float32)
    image = background
    if rng.random() >= recipe.clean_fraction:
        donor_index = int(rng.integers(len(images)))
        donor = _turn(rng, _crop(rng, images[donor_index], side), flips).astype(np.float32)
        families = applicable(recipe.families, scale)
        for _ in range(1 if rng.random() >= recipe.several_fraction else int(rng.integers(2, 4))):
            for _ in range(_TRIES):
                wanted, drawn_at = families[int(rng.integers(len(families)))], float(rng.uniform(*difficulty))
                image, added = _defect(FAMILIES[wanted], recipe, scale, image, donor, float(side), rng, drawn_at)
                if added.any():
                    label, family, level = np.maximum(label, added), wanted, drawn_at
                    break
    image = nuisance.light(rng, image, scale, recipe.nuisance)
    return Drawn(np.clip(np.round(image), 0, 255).astype(np.uint8), label, family, level, source)


def applicable(families: tuple[str, ...], scale: BatchScale) -> tuple[str, ...]:
    """``families`` without those that cannot be seen on this batch; all of them if nothing else is left."""
    if not scale.textured:
        return families
    return tuple(family for family in families if family not in PATTERN_FAMILIES) or families


def _defect(
    family: Family,
    recipe: Recipe,
    scale: BatchScale,
    image: Pixels,
    donor: Pixels,
    side: float,
    rng: np.random.Generator,
    level: float,
    part: NDArray[np.bool_] | None = None,
) -> tuple[Pixels, Pixels]:
    """One try at a defect of ``family`` at ``level``: image and label; an invisible one leaves both as they were.

    ``part``: mask of where its centre may lie; None: anywhere.
    """
    height, width, _ = image.shape
    centre = rng.uniform(0.02, 0.98, 2) * [width, height]
    if part is not None:
        places = np.flatnonzero(part)
        y, x = divmod(int(places[int(rng.integers(len(places)))]), width)
        centre = np.array([x, y], np.float64)
    # A whole image is for examinations: there the difficulty is meant as it stands.
    trade = float(rng.uniform(-0.4, 0.4)) if part is None else 0.0
    drawn = family(Canvas(image, donor, recipe, scale, side, centre, trade), rng, level)
    changed = np.asarray(np.clip(drawn, 0, 255), np.float32)
    if scale.binary and rng.random() < 0.85:
        changed = _crisp(image, changed, scale)
    label = label_of_change(image, changed, scale)
    return (changed if label.any() else image), label


def _crisp(before: Pixels, after: Pixels, scale: BatchScale) -> Pixels:
    """On images of two grey levels, push what changed back to those levels: a grey smear would give the drawing away."""
    middle = 0.5 * (scale.dark + scale.bright)
    pushed = np.clip(middle + 5.0 * (after - middle), scale.dark, scale.bright)
    return np.where(np.abs(after - before) > 2.0, pushed, after).astype(np.float32)


def exam_side(height: int, width: int) -> float:
    """Length in px that an exam defect's size is a fraction of, for a whole image: a fifth of the geometric mean side, 64 to
    512."""
    return float(np.clip(0.2 * np.sqrt(height * width), 64, 512))


def draw_exam(
    recipe: Recipe, scale: BatchScale, image: Image, source: int, family: str, difficulty: float, seed: int, index: int
) -> Drawn:
    """A whole good image with one exam defect of ``family`` at ``difficulty`` on the part; ``(seed, index)`` fixes the rest."""
    rng = np.random.default_rng([seed, 1 + index, 20_000_003])
    background = image.astype(np.float32)
    side, part = exam_side(*image.shape[:2]), foreground(image)
    for _ in range(_TRIES):
        changed, label = _defect(EXAMS[family], recipe, scale, background, background, side, rng, difficulty, part)
        if label.any():
            break
    return Drawn(np.clip(np.round(changed), 0, 255).astype(np.uint8), label, family if label.any() else None, difficulty, source)
