"""What tuning maximises, when there is not one real defect to measure on.

The worst exam family counts, by pixel AP on its faint and small half: pooled image AUROC saturates long before a detector is
good. A detector that buys this with false alarms on good tuning images pays for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from models.detector import Detector
from models.exam import ExamImage
from models.inspector import Inspector, fit_fusion
from models.metrics import auroc, average_precision, pooled
from models.preprocess import at_working_scale

WINDOW = 256
HARD = 0.35


@dataclass(frozen=True)
class Objective:
    """``value`` = (worst + mean) / 2 of the families' scores - overkill penalty; larger is better.

    ``families``: pixel AP on the hard half (difficulty ≥ 0.35), averaged with how well image scores separate it from good images
    (2 AUROC - 1). ``overkill``: share of good images that score above the median exam defect.
    """

    value: float
    families: dict[str, float]
    overkill: float


@dataclass(frozen=True)
class TuneSet:
    """Windows of at most 256 px at working scale: ``defects`` with their label in view, ``good`` ones anywhere."""

    good: list[NDArray[np.uint8]]
    defects: list[ExamImage]


def tune_set(good: Sequence[ExamImage], defects: Sequence[ExamImage], scale: float, most: int = 48) -> TuneSet:
    """Cut windows around what matters: whole images cost seconds each, and a tuning trial has only seconds."""
    rng = np.random.default_rng(0)
    chosen = (
        [defects[i] for i in np.unique(np.linspace(0, len(defects) - 1, min(most, len(defects))).astype(int))] if defects else []
    )
    windows = []
    for exam in chosen:
        if exam.label is None:
            continue
        image = at_working_scale(exam.image, scale)
        label = np.asarray(cv2.resize(exam.label, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_AREA), np.float32)
        y, x = np.unravel_index(int(label.argmax()), label.shape)
        top, left = _window_start(int(y), image.shape[0], rng), _window_start(int(x), image.shape[1], rng)
        view = np.s_[top : top + WINDOW, left : left + WINDOW]
        windows.append(ExamImage(exam.name, np.ascontiguousarray(image[view]), label[view], exam.family, exam.difficulty))
    clean = []
    for i in range(max(most // 2, 1)):
        image = at_working_scale(good[i % len(good)].image, scale)
        top = int(rng.integers(max(image.shape[0] - WINDOW, 0) + 1))
        left = int(rng.integers(max(image.shape[1] - WINDOW, 0) + 1))
        clean.append(np.ascontiguousarray(image[top : top + WINDOW, left : left + WINDOW]))
    return TuneSet(clean, windows)


def _window_start(at: int, size: int, rng: np.random.Generator) -> int:
    low, high = max(at - WINDOW + 16, 0), min(at - 16, size - WINDOW)
    return int(np.clip(rng.integers(low, max(high, low) + 1), 0, max(size - WINDOW, 0)))


def objective(detector: Detector, tune: TuneSet, smooth: int = 5) -> Objective:
    """Examine ``detector`` (evaluation mode, any device) on ``tune``, its map smoothed over ``smooth`` px."""
    device = next(detector.parameters()).device
    inspector = Inspector([detector], 1.0, smooth=smooth).to(device).eval()
    fit_fusion(inspector, tune.good[:8])

    @torch.no_grad()
    def look(image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        anomaly, score, _ = inspector(torch.from_numpy(image)[None].to(device))
        return anomaly[0].cpu().numpy(), float(score[0])

    good = [look(image) for image in tune.good]
    seen = [(exam, *look(exam.image)) for exam in tune.defects]
    good_scores = [score for _, score in good]
    families: dict[str, float] = {}
    for family in sorted({exam.family for exam in tune.defects if exam.family}):
        hard = [item for item in seen if item[0].family == family and (item[0].difficulty or 0) >= HARD]
        if not hard:
            continue
        labels = [exam.label for exam, _, _ in hard if exam.label is not None]
        truth, scores = pooled([m for _, m, _ in hard], list(labels))
        separation = 2.0 * auroc([0] * len(good) + [1] * len(hard), good_scores + [score for _, _, score in hard]) - 1.0
        families[family] = 0.5 * average_precision(truth, scores) + 0.5 * separation
    if not families:
        return Objective(0.0, {}, 0.0)
    middle = float(np.median([score for _, _, score in seen]))
    overkill = float(np.mean([score > middle for score in good_scores]))
    values = list(families.values())
    return Objective(0.5 * (min(values) + float(np.mean(values))) - overkill, families, overkill)
