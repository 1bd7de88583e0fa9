"""Does the threshold keep its word? Promised against found overkill over 200 random splits of one product's good images.

    PYTHONPATH=$PWD python benchmarks/threshold_promise.py DATA PRODUCT TEACHER_FOLDER

A memory (PatchCore with the teacher) is built on a third of the good training images, whole parts of them; the others are scored
once. Each split draws n of those for calibration, image by image or part by part, and counts overkill on the rest. No test image
is read. Prints a table in Markdown.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from data.benchmark_set import read_set
from data.image import read_image
from models.detectors.catalogue import build_detector
from models.detectors.teaching import teach, with_teacher
from models.inspection.calibration import calibrate
from models.inspection.inspector import Inspector, raw_maps
from models.inspection.preprocess import at_working_scale, working_scale
from models.teachers.teacher_file import read_teacher
from models.training.memory_bank import fill_memory_bank

SIZES, SPLITS, WISH = (12, 30, 60, 150), 200, 0.05


def scores_of(product: Path, teacher_folder: Path) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    """Scores and parts of the good training images that the memory does not hold."""
    train = read_set(product).train
    images = [read_image(file) for file, _ in train]
    channels = images[0].shape[2]
    parts = np.array([group or file.name for file, group in train])
    rng = np.random.default_rng(0)
    remembered = np.isin(parts, (names := rng.permutation(np.unique(parts)))[: len(names) // 3])
    teacher = read_teacher(teacher_folder)
    if teacher is None:
        sys.exit(f"{teacher_folder} holds no teacher")
    scale = working_scale(images, 700_000)
    detector = build_detector("patchcore", channels, with_teacher("patchcore", {"backbone": "resnet10t"}, teacher.card))
    teach(detector, teacher)
    torch.manual_seed(1)
    small = [at_working_scale(image, scale) for image, held in zip(images, remembered, strict=True) if held]
    crops = torch.stack([torch.from_numpy(image[:128, :128]).permute(2, 0, 1) / 255.0 for image in small[:16]])
    detector, _ = fill_memory_bank(detector, crops, small, None)
    inspector = Inspector([detector], scale).eval()
    found = [float(raw_maps(inspector, image)[0].amax()) for image, held in zip(images, remembered, strict=True) if not held]
    return np.array(found), parts[~remembered]


def drawn(rng: np.random.Generator, parts: NDArray[np.str_], n: int, whole_parts: bool) -> NDArray[np.bool_]:
    """A mask of about ``n`` images for calibration."""
    if not whole_parts:
        return np.isin(np.arange(len(parts)), rng.permutation(len(parts))[:n])
    chosen = np.zeros(len(parts), np.bool_)
    for part in rng.permutation(np.unique(parts)):
        if chosen.sum() >= n:
            break
        chosen |= parts == part
    return chosen


def main() -> None:
    scores, parts = scores_of(Path(sys.argv[1]) / sys.argv[2], Path(sys.argv[3]))
    print(f"{len(scores)} good images of {len(np.unique(parts))} parts")
    print(
        "| drawn | n | promised | found, mean | 5 % to 95 % of splits | promised in 19 of 20 batches | held by |",
        "|---|---|---|---|---|---|---|",
        sep="\n",
    )
    for whole_parts in (False, True):
        for n in SIZES:
            rng, promised, usually, found = np.random.default_rng(n), [], [], []
            for _ in range(SPLITS):
                held = drawn(rng, parts, n, whole_parts)
                made = calibrate(scores[held], WISH, parts[held].tolist() if whole_parts else None)
                promised.append(made.target)
                usually.append(made.usually)
                found.append(float((scores[~held] > made.threshold).mean()))
            low, high = np.quantile(found, (0.05, 0.95))
            how = "part by part" if whole_parts else "image by image"
            held_by = np.mean(np.array(found) <= np.array(usually))
            print(
                f"| {how} | {n} | {np.mean(promised):.1%} | {np.mean(found):.1%} | {low:.1%} to {high:.1%} "
                f"| {np.mean(usually):.1%} | {held_by:.0%} of splits |",
                flush=True,
            )


if __name__ == "__main__":
    main()
