"""The picture sheet of docs/pseudo-defects.md: every family at three difficulties on three products.

    python benchmarks/picture_sheet.py OUT.jpg [PRODUCT_DIR PRODUCT_DIR PRODUCT_DIR]

Without product folders (see ``data/benchmark_set.py``) on three rendered surfaces: the sample plate, a two-level board and a
rough casting; real images stay where they are, so only that sheet is in the repository.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from data.benchmark_set import read_set
from data.defects.draw import applicable, draw_crop, draw_exam
from data.defects.recipe import EXAM_FAMILIES, TRAINING_FAMILIES, Recipe
from data.defects.scale import BatchScale, measure_scale
from data.image import read_image
from data.sample.pictures import render_good
from models.inspection.preprocess import at_working_scale, working_scale

Image = NDArray[np.uint8]
SIDE, CELL, GAP = 128, 112, 4
DIFFICULTIES = (0.0, 0.5, 1.0)


def board(seed: int) -> Image:
    """Tracks and pads in two grey levels, 320 × 320 × 1."""
    rng, layout = np.random.default_rng(seed), np.random.default_rng(0)
    image = np.zeros((320, 320), np.uint8)
    for _ in range(14):
        x, y = (int(v) for v in layout.integers(2, 38, 2) * 8)
        points = [(x, y)]
        for _ in range(3):
            step = int(layout.integers(5, 16)) * 8
            x, y = ((x + step) % 312, y) if layout.random() < 0.5 else (x, (y + step) % 312)
            points.append((x, y))
        cv2.polylines(image, [np.array(points, np.int32)], False, 255, 7, cv2.LINE_AA)
        cv2.circle(image, points[0], 10, 255, -1, cv2.LINE_AA)
    moved = np.array([[1, 0, rng.normal(0, 0.4)], [0, 1, rng.normal(0, 0.4)]], np.float32)
    shifted = cv2.warpAffine(image, moved, (320, 320))
    return np.where(shifted + rng.normal(0, 12, image.shape) > 127, 255, 0).astype(np.uint8)[..., None]


def casting(seed: int) -> Image:
    """A rough surface with pores, 320 × 320 × 1."""
    rng = np.random.default_rng(seed)
    rough = sum(
        w * cv2.GaussianBlur(rng.normal(0, 1, (320, 320)), (0, 0), s) * s for s, w in ((1.0, 9.0), (2.5, 9.0), (7.0, 5.0))
    )
    image = 150 + np.asarray(rough)
    for _ in range(12):
        x, y = (int(v) for v in rng.integers(0, 320, 2))
        cv2.circle(image, (x, y), int(rng.integers(1, 3)), 110.0, -1, cv2.LINE_AA)
    return np.clip(image, 0, 255).astype(np.uint8)[..., None]


def cell(family: str, images: list[Image], scale: BatchScale, difficulty: float) -> Image:
    """One crop with a defect of ``family`` and its label below it; a dash where the family is not drawn on this product."""
    blank = np.full((SIDE * 3 // 2, SIDE), 235, np.uint8)
    if family not in applicable((*TRAINING_FAMILIES, *EXAM_FAMILIES), scale):
        cv2.line(blank, (56, 64), (72, 64), 120, 2)
        return blank
    recipe = Recipe(clean_fraction=0.05, several_fraction=0.0, families=(family,) if family in TRAINING_FAMILIES else ("bezier",))
    for index in range(300):
        if family in EXAM_FAMILIES:
            drawn = draw_exam(recipe, scale, images[index % len(images)], 0, family, difficulty, 5, index)
        else:
            drawn = draw_crop(recipe, scale, images, SIDE, 5, index, (difficulty, difficulty))
        if drawn.family == family and min(drawn.image.shape[:2]) >= SIDE:
            height, width = drawn.label.shape
            moments = cv2.moments(drawn.label)
            x, y = moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]
            left, top = (int(np.clip(v - SIDE / 2, 0, size - SIDE)) for v, size in ((x, width), (y, height)))
            view = np.s_[top : top + SIDE, left : left + SIDE]
            label = cv2.resize((drawn.label[view] * 255).astype(np.uint8), (SIDE // 2, SIDE // 2), interpolation=cv2.INTER_AREA)
            blank[:SIDE] = drawn.image[view].mean(axis=2)
            blank[SIDE:, : SIDE // 2] = label
            blank[SIDE:, SIDE // 2 :] = 255
            return blank
    return blank


def sheet(products: list[list[Image]]) -> Image:
    """Rows are families, columns three difficulties of each product; each cell a crop and below it its label."""
    scales = [measure_scale(images) for images in products]
    rows = []
    for family in (*(f for f in TRAINING_FAMILIES if f != "library"), *EXAM_FAMILIES):
        cells = [cell(family, images, scale, d) for images, scale in zip(products, scales, strict=True) for d in DIFFICULTIES]
        framed = [cv2.copyMakeBorder(c, GAP, GAP, GAP, GAP, cv2.BORDER_CONSTANT, value=255) for c in cells]
        name = np.full((framed[0].shape[0], 100), 255, np.uint8)
        cv2.putText(name, family, (6, 70), cv2.FONT_HERSHEY_SIMPLEX, 0.55, 0, 1, cv2.LINE_AA)
        rows.append(np.hstack([name, *framed]))
    return np.vstack(rows)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 5):
        sys.exit(__doc__)
    if len(sys.argv) == 2:
        chosen = [[render_good(i, 1) for i in range(8)], [board(i) for i in range(8)], [casting(i) for i in range(8)]]
    else:
        chosen = []
        for folder in sys.argv[2:]:
            files = [file for file, _ in read_set(Path(folder)).train]
            images = [read_image(files[i]) for i in np.linspace(0, len(files) - 1, 8).astype(int)]
            scale = working_scale(images, 700_000)
            chosen.append([at_working_scale(image, scale) for image in images])
    cv2.imwrite(sys.argv[1], sheet(chosen), [cv2.IMWRITE_JPEG_QUALITY, 82])
