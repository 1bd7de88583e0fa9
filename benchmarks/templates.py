"""Comparing with a good template, measured: each test image of a board beside the template that its set names.

    PYTHONPATH=$PWD python benchmarks/templates.py DATA OUT SECONDS PRODUCT… [--methods M;…] [--moves]

Trains on the good training images alone: four fifths of them to learn from, the others for the threshold. A training image's
template is itself, changed as another print of it might be (``data.defects.nuisance.printed``); so are the good images that give
the threshold (5 % overkill), and the good ones of image AUROC: the sets have no second good picture of a board. Defects and false
alarms on the real test images are counted as DeepPCB does: boxes at an IoU over .33, here about connected pixels above the
threshold, grown by 8 px, since the set's boxes are larger than the defects; and as hits, where a detection touches the box.
``--moves`` repeats that on test images that were shifted, turned, scaled, lit and blurred. Prints a table in Markdown and writes
JSON to OUT.
"""

import argparse
import csv
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.files import write_json
from data.benchmark_set import TestImage, read_set
from data.defects import nuisance
from data.defects.recipe import Recipe
from data.defects.scale import BatchScale, measure_scale
from data.image import read_image
from models.detectors.catalogue import NETWORKS
from models.detectors.segmentation import SegmentationDetector
from models.detectors.teaching import teach, with_teacher
from models.detectors.template_difference import TemplateDifference
from models.evaluation.metrics import auroc, f1_max
from models.inspection.calibration import calibrate
from models.inspection.inspector import MARGIN, MapPooling, pool_map, whole_as_seen
from models.teachers.imagenet import write_imagenet
from models.teachers.teacher_file import TeacherFile, read_teacher
from models.training.budget import Plan
from models.training.crops import CropPlan
from models.training.fit import Spec, fit

Image = NDArray[np.uint8]
Map = NDArray[np.float32]
Compare = Callable[[Image, Image], tuple[Map, float]]
"""Image and template to the map and the confidence of the registration."""
SURE = 0.7
GROWN = 8
IOU = 0.33
SMALLEST = 4
"""Pixels that a detection has at least."""
NETWORK = NETWORKS["siam_nested_unet"]
VARIANTS: dict[str, dict[str, Any]] = {
    "siam_nested_unet": {},
    "without attention": {"attention": False},
    "early fusion": {"siamese": False},
}
TOLERANCES = {"no tolerance": 0, "2 px": 2}
"""Names of differences with another tolerance than the catalogue's, 1 px, as in "difference, 2 px"."""
MOVES: dict[str, dict[str, float]] = {
    "as they are": {},
    "shift 2 px": {"shift": 2.3}, "shift 5 px": {"shift": 5.4}, "shift 10 px": {"shift": 10.0},
    "turn 1°": {"turn": 1.0}, "turn 3°": {"turn": 3.0},
    "scale 98 %": {"scale": 0.98}, "scale 102 %": {"scale": 1.02},
    "light 70 %": {"light": 0.7}, "light 130 %": {"light": 1.3},
    "blur 1 px": {"blur": 1.0},
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A test image with its template and its truth."""

    image: Image
    template: Image
    label: Map


def cases(folder: Path, channels: int) -> list[Case]:
    """The defective test images with a template, in the order of the list."""
    with (folder / "split.csv").open(newline="", encoding="utf-8") as table:
        templates = {row["file"]: row.get("template") for row in csv.DictReader(table)}
    found = []
    for test in read_set(folder).test:
        template = templates[test.file.relative_to(folder).as_posix()]
        if test.kind and template:
            image, label = test.read(channels)
            found.append(Case(image, TestImage(folder / template, None, None).read(channels)[0], label))
    return found


def reprinted(image: Image, scale: BatchScale, seed: int) -> Image:
    """``image`` as another print of it might be."""
    rng, strength = np.random.default_rng([seed, 5]), Recipe().nuisance
    pixels = nuisance.shift(rng, nuisance.printed(rng, image.astype(np.float32), strength), strength)
    return np.clip(np.rint(nuisance.light(rng, pixels, scale, strength)), 0, 255).astype(np.uint8)


def moved(image: NDArray[Any], shift: float = 0.0, turn: float = 0.0, scale: float = 1.0, light: float = 1.0, blur: float = 0.0,
          label: bool = False) -> NDArray[Any]:  # fmt: skip
    """``image`` (or ``label``) elsewhere; what comes in at its sides is their last pixels, or nothing."""
    h, w = image.shape[:2]
    affine = cv2.getRotationMatrix2D(((w - 1) / 2, (h - 1) / 2), turn, scale)
    affine[:, 2] += shift, -0.6 * shift
    border = cv2.BORDER_CONSTANT if label else cv2.BORDER_REPLICATE
    pixels = cv2.warpAffine(image.astype(np.float32), affine, (w, h), flags=cv2.INTER_LINEAR, borderMode=border)
    if label:
        return np.asarray(pixels > 0.5, np.float32)
    pixels = light * (cv2.GaussianBlur(pixels, (0, 0), blur) if blur else pixels)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8).reshape(image.shape)


def within(anomaly: Tensor, image: Image) -> Map:
    """A map without the margins, averaged over 3 × 3 px."""
    height, width = image.shape[:2]
    smooth = pool_map(MapPooling(1, 1, 3), anomaly[:, :, MARGIN : MARGIN + height, MARGIN : MARGIN + width])
    return np.asarray(smooth[0, 0].numpy(), np.float32)


def network_compare(detector: Any, register: bool = True) -> Compare:
    """With a trained network; ``register``: False takes the template to lie where the image has it."""

    def compare(image: Image, template: Image) -> tuple[Map, float]:
        with torch.no_grad():
            pixels, good = whole_as_seen(image), whole_as_seen(template)
            if not register:
                pair = torch.cat([pixels, good], 1)
                return within(SegmentationDetector.forward(detector, pair), image), 1.0
            detector.bank.hold(good)
            anomaly, confidence = detector.compared(pixels)
            return within(anomaly, image), float(confidence)

    return compare


def difference(image: Image, template: Image, tolerance: int = 1, register: bool = True) -> tuple[Map, float]:
    """The plain way; ``register`` as above."""
    detector = TemplateDifference(image.shape[2], tolerance)
    pixels, good = whole_as_seen(image), whole_as_seen(template)
    with torch.no_grad():
        if not register:
            return within(detector.apart(pixels, good), image), 1.0
        detector.bank.hold(good)
        anomaly, confidence = detector.compared(pixels)
        return within(anomaly, image), float(confidence)


def boxes(mask: NDArray[Any]) -> list[tuple[int, int, int, int]]:
    """(left, top, right, bottom) about connected pixels of ``mask``."""
    found = cv2.connectedComponentsWithStats(np.asarray(mask, np.uint8), connectivity=8)[2]
    return [(x, y, x + w, y + h) for x, y, w, h, _ in found[1:].tolist()]


def overlap(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[float, bool]:
    """IoU, and whether they touch."""
    width, height = min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0, False
    both = width * height
    return both / ((one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1]) - both), True


@dataclass
class Counts:
    """Over all judged images."""

    defects: int = 0
    found: int = 0
    hit: int = 0
    detections: int = 0
    false: int = 0
    beside: int = 0
    images: int = 0
    unjudged: int = 0

    def add(self, anomaly: Map, threshold: float, label: Map) -> None:
        """One image's detections against its truth."""
        truth = boxes(label > 0.5)
        # Detections that grow into each other are one.
        above = np.asarray(anomaly > threshold, np.uint8)
        count, numbers, stats, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
        for number in range(1, count):
            if stats[number, cv2.CC_STAT_AREA] < SMALLEST:
                above[numbers == number] = 0
        grown = cv2.dilate(above, np.ones((2 * GROWN + 1,) * 2, np.uint8))
        found = boxes(grown)
        pairs = [[overlap(one, other) for other in found] for one in truth]
        self.images += 1
        self.defects += len(truth)
        self.detections += len(found)
        self.found += sum(any(iou > IOU for iou, _ in row) for row in pairs)
        self.hit += sum(any(touches for _, touches in row) for row in pairs)
        self.false += sum(not any(row[i][0] > IOU for row in pairs) for i in range(len(found)))
        self.beside += sum(not any(row[i][1] for row in pairs) for i in range(len(found)))


def measured(compare: Compare, tests: list[Case], calibration: list[tuple[Image, Image]], good: list[tuple[Image, Image]],
             moves: dict[str, dict[str, float]]) -> Iterator[dict[str, Any]]:  # fmt: skip
    """A row for each of ``moves``."""
    threshold = calibrate([float(compare(*pair)[0].max()) for pair in calibration], 0.05).threshold
    good_scores = [float(compare(*pair)[0].max()) for pair in good]
    for name, move in moves.items():
        counts, scores, spent = Counts(), [], []
        for case in tests:
            image, label = moved(case.image, **move), moved(case.label, label=True, **move)
            started = time.monotonic()
            anomaly, confidence = compare(image, case.template)
            spent.append(time.monotonic() - started)
            if confidence < SURE:
                counts.unjudged += 1
                continue
            scores.append(float(anomaly.max()))
            counts.add(anomaly, threshold, label)
        marks = [0] * len(good_scores) + [1] * len(scores)
        yield {
            "move": name, **vars(counts),
            "recall": counts.found / max(counts.defects, 1), "hits": counts.hit / max(counts.defects, 1),
            "false_an_image": counts.false / max(counts.images, 1), "beside_an_image": counts.beside / max(counts.images, 1),
            "image_auroc": auroc(marks, good_scores + scores) if scores else None,
            "f1": f1_max(marks, good_scores + scores)[0] if scores else None,
            "escape": sum(score <= threshold for score in scores), "overkill": sum(score > threshold for score in good_scores),
            "good": len(good_scores), "threshold": threshold, "ms": 1000 * float(np.median(spent)),
        }  # fmt: skip


def trained(images: list[Image], settings: dict[str, Any], seconds: float, teacher: TeacherFile | None) -> tuple[Any, int]:
    """A network of the catalogue, with ``settings`` that differ, and its steps."""
    wanted = with_teacher("siam_nested_unet", {**NETWORK.settings, **settings}, teacher.card if teacher else None)
    spec = Spec("siam_nested_unet", wanted, "linear", NETWORK.defaults[0]["learning_rate"], hard_negatives=False)
    crops = CropPlan(Recipe(), measure_scale(images), spec.side, 0, spec.schedule, 1)
    detector, log = fit(images, crops, spec, Plan(seconds), begin=lambda made: teach(made, teacher), templates=images[:1])
    return detector, log.steps


def main() -> None:
    """See the head of this file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("seconds", type=float)
    parser.add_argument("products", nargs="+")
    parser.add_argument("--methods", default="difference;siam_nested_unet")
    parser.add_argument("--moves", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    write_imagenet(options.out / "imagenet")
    teacher = read_teacher(options.out / "imagenet")
    moves = MOVES if options.moves else {"as they are": {}}
    for name in options.products:
        images = [read_image(file) for file, _ in read_set(options.data / name).train]
        tests = cases(options.data / name, images[0].shape[2])
        apart = max(len(images) // 5, 4)
        learn, kept, scale = images[:-apart], images[-apart:], measure_scale(images)
        calibration = [(reprinted(image, scale, 100 * n + i), image) for i, image in enumerate(kept) for n in range(3)]
        good = [(reprinted(case.template, scale, 7_000 + i), case.template) for i, case in enumerate(tests)]
        for method in options.methods.split(";"):
            steps, started = 0, time.monotonic()
            variant, registers = method.removesuffix(" in place"), not method.endswith(" in place")
            tolerance = variant.removeprefix("difference, ")
            compare: Compare = partial(difference, tolerance=TOLERANCES.get(tolerance, 1), register=registers)
            if not variant.startswith("difference"):
                detector, steps = trained(learn, VARIANTS[variant], options.seconds, teacher)
                torch.save(detector.state_dict(), options.out / f"{name} {method}.pt")
                compare = network_compare(detector.eval(), registers)
            made = {"product": name, "method": method, "steps": steps, "seconds": round(time.monotonic() - started)}
            for figures in measured(compare, tests, calibration, good, moves):
                row = {**made, **figures}
                write_json(options.out / f"{name} {method} {row['move']}.json", row)
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
