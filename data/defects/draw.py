"""Drawing: from (recipe, seed, index) to a crop with its label, the same whatever the number of workers or their order."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from data.defects import nuisance
from data.defects.blend import label_of_change
from data.defects.canvas import Canvas
from data.defects.exam import EXAM_REACH, EXAMS
from data.defects.families import FAMILIES, REACH
from data.defects.foreground import foreground, rim
from data.defects.library import Cutout
from data.defects.recipe import LINES, PATTERN_FAMILIES, RIM_FAMILIES, Recipe
from data.defects.scale import BatchScale

Image = NDArray[np.uint8]
Pixels = NDArray[np.float32]
Part = NDArray[np.bool_]
_TRIES = 4
MARGIN = 24
"""Pixels around a defect that its label may still reach."""
SPOT_SHARE = 1 / 3
PARTNER = 40_000_003
"""Sets the draws of a partner's crop apart from all others."""


@dataclass(frozen=True)
class Drawn:
    """One drawn crop or image.

    ``image``: (H, W, C) uint8. ``label``: (H, W) float32 in 0..1, the visible change; all zero where nothing was drawn.
    ``family``: name of the last family drawn, None on clean ones. ``difficulty``: 0..1. ``source``: index of the good image.
    ``clean``: a crop as it would be had nothing been drawn on it, harmless variation included; only where it was asked for.
    """

    image: Image
    label: Pixels
    family: str | None
    difficulty: float
    source: int
    clean: Image | None = None


@dataclass(frozen=True)
class _View:
    """A square crop of a good image. ``inside``: mask of what is image and not beyond its sides. ``part``: of what is part of
    that."""

    image: Image
    inside: Part
    part: Part


def _view(
    rng: np.random.Generator,
    image: Image,
    part: Part | None,
    side: int,
    flips: bool,
    about: tuple[int, int] | None = None,
    margin: int | None = None,
) -> _View:
    """A crop anywhere, perhaps mirrored, that may reach beyond the image by ``margin`` (None: a quarter of its ``side``), so that
    the image's rim is seen as often as its middle. What is beyond is the image's mean, as where the inspector looks beyond it.
    ``about``: (row, column) that it has to show."""
    height, width, channels = image.shape
    margin = side // 4 if margin is None else margin
    top, left = (
        int(rng.integers(min(-margin, size - side), max(size - side + margin, 0) + 1)) if size < side
        else int(rng.integers(-margin, size - side + margin + 1))
        for size in (height, width)
    )  # fmt: skip
    if about is not None:
        top, left = (int(np.clip(at - rng.integers(side), -margin, max(size - side + margin, -margin)))
                     for at, size in zip(about, (height, width), strict=True))  # fmt: skip
    rows, columns = slice(max(top, 0), min(top + side, height)), slice(max(left, 0), min(left + side, width))
    within = np.s_[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    view = np.full((side, side, channels), round(sum(cv2.mean(image)) / channels), np.uint8)
    view[within] = image[rows, columns]
    inside = np.zeros((side, side), np.bool_)
    inside[within] = True
    shown = inside.copy()
    if part is not None:
        shown[within] = part[rows, columns]
    if flips and rng.random() < 0.5:
        view, inside, shown = view[:, ::-1], inside[:, ::-1], shown[:, ::-1]
    if flips and rng.random() < 0.5:
        view, inside, shown = view[::-1], inside[::-1], shown[::-1]
    return _View(view, inside, shown)


def draw_crop(
    recipe: Recipe,
    scale: BatchScale,
    images: Sequence[Image],
    side: int,
    seed: int,
    index: int,
    difficulty: tuple[float, float] = (0.0, 1.0),
    flips: bool = True,
    parts: Sequence[Part] | None = None,
    spots: Sequence[tuple[int, int, int]] = (),
    library: Sequence[Cutout] = (),
    with_clean: bool = False,
    partners: Sequence[Image] | None = None,
) -> Drawn:
    """Crop number ``index`` of the endless series that ``(recipe, seed)`` defines.

    ``images``: good images (H, W, C) uint8; ``side``: of the square crop in px; ``difficulty``: range to draw from (the
    curriculum); ``parts``: their ``foreground`` masks, where chips are to follow the part's rim and not the image's;
    ``spots``: (image, row, column) that a third of the crops have to show; ``library``: cut-outs
    (see ``data.defects.library``). ``with_clean``: keep what it was before defects were drawn; nothing else depends on that.
    ``partners``: of each image another picture of the same, of its size; ``clean`` then is the partner's crop at the same place,
    with harmless differences of its own.
    """
    rng = np.random.default_rng([seed, index])
    source = int(rng.integers(len(images)))
    about: tuple[int, int] | None = None
    if spots and rng.random() < SPOT_SHARE:
        source, row, column = spots[int(rng.integers(len(spots)))]
        about = row, column
    other = None if partners is None else _view(copy.deepcopy(rng), partners[source], None, side, flips, about)
    view = _view(rng, images[source], None if parts is None else parts[source], side, flips, about)
    background = view.image.astype(np.float32)
    if rng.random() < 0.5:
        background = nuisance.shift(rng, background, recipe.nuisance)
    level, family = 0.0, None
    label = np.zeros(background.shape[:2], np.float32)
    image = background
    if rng.random() >= recipe.clean_fraction:
        donor_index = int(rng.integers(len(images)))
        donor = _view(rng, images[donor_index], None, side, flips, margin=0).image.astype(np.float32)
        canvas = Canvas(image, donor, recipe, scale, float(side), part=view.part, library=library)
        families = applicable(recipe.families, scale, bool(library))
        for _ in range(1 if rng.random() >= recipe.several_fraction else int(rng.integers(2, 4))):
            for _ in range(_TRIES):
                wanted, drawn_at = families[int(rng.integers(len(families)))], float(rng.uniform(*difficulty))
                image, added = _defect(replace(canvas, background=image), wanted, rng, drawn_at, view.inside)
                if added.any():
                    label, family, level = np.maximum(label, added), wanted, drawn_at
                    break
    clean = None
    if other is not None:
        clean = _template(np.random.default_rng([seed, index, PARTNER]), other, scale, recipe.nuisance)
    elif with_clean:
        lit = nuisance.light(copy.deepcopy(rng), background, scale, recipe.nuisance, image.mean())
        clean = _as_pixels(np.where(view.inside[..., None], lit, view.image.astype(np.float32)))
    image = nuisance.light(rng, image, scale, recipe.nuisance)
    image = np.where(view.inside[..., None], image, view.image.astype(np.float32))
    return Drawn(_as_pixels(image), label, family, level, source, clean)


def _template(rng: np.random.Generator, view: _View, scale: BatchScale, strength: float) -> Image:
    """A template's crop as a camera or a printer would give it another time."""
    image = nuisance.printed(rng, view.image.astype(np.float32), strength)
    if rng.random() < 0.5:
        image = nuisance.shift(rng, image, strength)
    image = nuisance.light(rng, image, scale, strength)
    return _as_pixels(np.where(view.inside[..., None], image, view.image.astype(np.float32)))


def _as_pixels(image: Pixels) -> Image:
    """(H, W, C) rounded and cut to 0..255."""
    return np.asarray(cv2.add(image, np.zeros(1), dtype=cv2.CV_8U), np.uint8).reshape(image.shape)


def applicable(families: tuple[str, ...], scale: BatchScale, library: bool = False) -> tuple[str, ...]:
    """``families`` without those that cannot be seen on this batch (all of them if nothing else is left), and without the library
    where there is none."""
    drawable = tuple(family for family in families if library or family != "library") or families
    if not scale.textured:
        return drawable
    return tuple(family for family in drawable if family not in PATTERN_FAMILIES) or drawable


def _defect(
    canvas: Canvas, family: str, rng: np.random.Generator, level: float, inside: Part | None = None
) -> tuple[Pixels, Pixels]:
    """One try at a defect of ``family`` at ``level``, somewhere on ``canvas``: image and label; one that is invisible or has no
    place here leaves both as they were. ``inside``: mask of what is image in a training crop; None on a whole image, where an
    exam defect is drawn on the part, its difficulty meant as it stands."""
    exam, image = inside is None, canvas.background
    part = np.ones(image.shape[:2], np.bool_) if canvas.part is None else canvas.part
    centre = rng.uniform(0.02, 0.98, 2) * [canvas.width, canvas.height]
    places = rim(part, whole=exam) if family in RIM_FAMILIES else None
    if exam and places is None:
        places = np.argwhere(part)[:, ::-1]
    if places is not None:
        if not len(places):
            return image, np.zeros(image.shape[:2], np.float32)
        centre = places[int(rng.integers(len(places)))].astype(np.float64)
    canvas = replace(canvas, centre=centre, trade=0.0 if exam else float(rng.uniform(-0.4, 0.4)))
    near = _neighbourhood(canvas, family, level)
    before = image[near]
    start = [near[1].start, near[0].start]
    local = replace(canvas, background=before, donor=canvas.donor[near], part=part[near], centre=centre - start)
    drawn = (EXAMS[family] if exam else FAMILIES[family])(local, rng, level)
    after = np.asarray(np.clip(drawn, 0, 255), np.float32)
    if canvas.scale.binary and rng.random() < 0.85:
        after = _crisp(before, after, canvas.scale)
    if inside is not None:
        after = np.where(inside[near][..., None], after, before)
    seen = label_of_change(before, after, canvas.scale, family in LINES)
    label = np.zeros(image.shape[:2], np.float32)
    if not seen.any():
        return image, label
    label[near] = seen if inside is None else seen * inside[near]
    changed = image.copy()
    changed[near] = after
    return changed, label


def _neighbourhood(canvas: Canvas, family: str, level: float) -> tuple[slice, slice]:
    """Rows and columns that a defect of ``family`` at ``level`` and its label can reach: drawing is limited to them for speed."""
    reach = {**REACH, **EXAM_REACH}[family]
    half = math.inf if reach is None else reach * canvas.largest(level) + MARGIN
    rows, columns = (
        slice(int(max(at - half, 0)), int(min(at + half + 1, size)))
        for at, size in ((canvas.centre[1], canvas.height), (canvas.centre[0], canvas.width))
    )
    return rows, columns


def _crisp(before: Pixels, after: Pixels, scale: BatchScale) -> Pixels:
    """On images of two grey levels, push what changed back to those levels: a grey smear would give the drawing away."""
    middle = 0.5 * (scale.dark + scale.bright)
    pushed = np.clip(middle + 5.0 * (after - middle), scale.dark, scale.bright)
    return np.where(np.abs(after - before) > 2.0, pushed, after).astype(np.float32)


def exam_side(height: int, width: int) -> float:
    """Length in px that an exam defect's size is a fraction of, for a whole image: a third of the geometric mean side, 64 to
    512."""
    return float(np.clip(np.sqrt(height * width) / 3.0, 64, 512))


def draw_exam(
    recipe: Recipe, scale: BatchScale, image: Image, source: int, family: str, difficulty: float, seed: int, index: int
) -> Drawn:
    """A whole good image with one exam defect of ``family`` at ``difficulty`` on the part; ``(seed, index)`` fixes the rest."""
    rng = np.random.default_rng([seed, 1 + index, 20_000_003])
    background = image.astype(np.float32)
    canvas = Canvas(background, background, recipe, scale, exam_side(*image.shape[:2]), part=foreground(image))
    for _ in range(_TRIES):
        changed, label = _defect(canvas, family, rng, difficulty)
        if label.any():
            break
    return Drawn(_as_pixels(changed), label, family if label.any() else None, difficulty, source)
