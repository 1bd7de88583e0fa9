"""What tuning maximises, when there is not one real defect to measure on.

The worst exam family counts, by pixel AP on its faint and small half: pooled image AUROC saturates long before a detector is
good. A detector that buys this with false alarms on good tuning images pays for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.detector import Detector
from models.exam import ExamImage
from models.inspector import Inspector, Reading, fit_fusion, raw_maps
from models.metrics import auroc, average_precision, pooled
from models.preprocess import at_working_scale

HARD = 0.35
MOST, LEAST, PIXELS = 36, 12, 8e6


@dataclass(frozen=True)
class Objective:
    """``value`` = (worst + mean) / 2 of the families' scores - overkill penalty; larger is better. A family's score is the
    mean of its two figures here, both on its hard half (difficulty ≥ 0.35).

    ``pixel_ap``: by family. ``separation``: how well image scores tell it from good images, 2 AUROC - 1. ``overkill``: share of
    good images that score above the median exam defect.
    """

    value: float
    pixel_ap: dict[str, float]
    separation: dict[str, float]
    overkill: float


@dataclass(frozen=True)
class TuneSet:
    """Whole images at working scale: ``defects`` with their labels, and ``good`` ones, mirrored where there are few."""

    good: list[NDArray[np.uint8]]
    defects: list[ExamImage]


def tune_set(good: Sequence[ExamImage], defects: Sequence[ExamImage], scale: float, most: int = MOST) -> TuneSet:
    """At most ``most`` of the exam defects, evenly over families and difficulties, and as many good images; fewer of large
    images, down to 12."""
    if good:
        pixels = good[0].image.shape[0] * good[0].image.shape[1] * scale**2
        most = int(np.clip(PIXELS / pixels, min(LEAST, most), most))
    chosen = [defects[i] for i in np.unique(np.linspace(0, len(defects) - 1, min(most, len(defects))).astype(int))]
    small = []
    for exam in chosen:
        if exam.label is not None:
            image = at_working_scale(exam.image, scale)
            label = np.asarray(cv2.resize(exam.label, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_AREA), np.float32)
            small.append(ExamImage(exam.name, image, label, exam.family, exam.difficulty))
    clean = [at_working_scale(exam.image, scale) for exam in good[:most]]
    mirrored = [np.ascontiguousarray(image[flip]) for flip in (np.s_[:, ::-1], np.s_[::-1], np.s_[::-1, ::-1]) for image in clean]
    return TuneSet((clean + mirrored)[: max(min(most, 4 * len(clean)), len(clean))], small)


@dataclass(frozen=True)
class Read:
    """One reading of all images, in its units: the largest value on each good image, map (every second row and column) and
    largest value on each defect."""

    good: NDArray[np.float64]
    maps: list[NDArray[np.float32]]
    defects: NDArray[np.float64]


@dataclass(frozen=True)
class Looks:
    """Raw maps of ``detectors`` (views ``reductions``) on a tune set, made once and fused in many ways."""

    detectors: tuple[Detector, ...]
    reductions: tuple[int, ...]
    tune: TuneSet
    good: list[list[Tensor]]
    defects: list[list[Tensor]]
    cache: dict[Reading, Read] = field(default_factory=dict)

    @torch.no_grad()
    def read(self, reading: Reading) -> Read:
        """What ``reading`` alone makes of the images."""
        if reading not in self.cache:
            inspector = Inspector(list(self.detectors), 1.0, self.reductions, [reading]).to(self.good[0][0].device)
            fit_fusion(inspector, self.good)

            def fused(raw: list[Tensor], image: NDArray[np.uint8]) -> NDArray[np.float32]:
                return inspector.fused(raw, image.shape[0], image.shape[1])[0, 0].cpu().numpy()

            good = [float(fused(raw, image).max()) for raw, image in zip(self.good, self.tune.good, strict=True)]
            whole = [fused(raw, exam.image) for raw, exam in zip(self.defects, self.tune.defects, strict=True)]
            maps = [np.ascontiguousarray(m[::2, ::2]) for m in whole]
            self.cache[reading] = Read(np.array(good), maps, np.array([float(m.max()) for m in whole]))
        return self.cache[reading]


def look(detectors: Sequence[Detector], tune: TuneSet, reductions: Sequence[int] = ()) -> Looks:
    """Run ``detectors`` (evaluation mode, any device) over ``tune``."""
    inspector = Inspector(list(detectors), 1.0, reductions).to(next(detectors[0].parameters()).device).eval()
    seen = [[raw_maps(inspector, image) for image in images] for images in (tune.good, [exam.image for exam in tune.defects])]
    return Looks(tuple(detectors), inspector.reductions, tune, seen[0], seen[1])


def judge(looks: Looks, readings: Sequence[Reading] = ()) -> Objective:
    """The objective of the detectors, fused by ``readings``, as of ``Inspector``: the largest of them counts."""
    read = [looks.read(reading) for reading in readings or [Reading(view) for view in sorted(set(looks.reductions))]]
    scores = np.max([r.defects for r in read], axis=0)
    seen = [
        (exam, np.maximum.reduce([r.maps[i] for r in read]), float(scores[i])) for i, exam in enumerate(looks.tune.defects)
    ]  # fmt: skip
    return objective_of(np.max([r.good for r in read], axis=0).tolist(), seen)


def objective_of(good_scores: Sequence[float], seen: Sequence[tuple[ExamImage, NDArray[np.float32], float]]) -> Objective:
    """The objective of whatever gave ``good_scores``, and map (every second row and column) and score of each exam defect."""
    pixel_ap: dict[str, float] = {}
    separation: dict[str, float] = {}
    for family in sorted({exam.family for exam, _, _ in seen if exam.family}):
        hard = [item for item in seen if item[0].family == family and (item[0].difficulty or 0) >= HARD]
        if not hard:
            continue
        labels = [exam.label[::2, ::2] for exam, _, _ in hard if exam.label is not None]
        truth, scores = pooled([m for _, m, _ in hard], list(labels), stride=1)
        told = auroc([0] * len(good_scores) + [1] * len(hard), [*good_scores] + [score for _, _, score in hard])
        pixel_ap[family], separation[family] = average_precision(truth, scores), 2.0 * told - 1.0
    if not pixel_ap:
        return Objective(0.0, {}, {}, 0.0)
    middle = float(np.median([score for _, _, score in seen]))
    overkill = float(np.mean([score > middle for score in good_scores]))
    values = [0.5 * pixel_ap[family] + 0.5 * separation[family] for family in pixel_ap]
    return Objective(0.5 * (min(values) + float(np.mean(values))) - overkill, pixel_ap, separation, overkill)


def objective(detectors: Sequence[Detector], tune: TuneSet, reductions: Sequence[int] = ()) -> Objective:
    """Examine ``detectors``, fused, on ``tune``, at the usual smoothing."""
    return judge(look(detectors, tune, reductions))
