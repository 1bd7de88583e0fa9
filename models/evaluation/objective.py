"""What tuning maximises, when there is not one real defect to measure on.

Exam defects, of families that no detector trains on, at all difficulties: an easy one says little about a good detector, and a
hard one little about a detector that is still blind, so both count (decision 7).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.detectors.detector import Detector
from models.evaluation.exam import LabelledImage
from models.evaluation.metrics import average_precision, pooled
from models.inspection.inspector import Inspector, MapPooling, fit_fusion, raw_maps
from models.inspection.preprocess import at_working_scale
from models.training.allocation import keep_freed_memory

MOST, LEAST, PIXELS = 36, 12, 8e6
NEAR = 9
"""Side in px (odd) of the square about a defect's label: the map's values there count as the defect's."""


@dataclass(frozen=True)
class Objective:
    """``value``: half the sum of two means, that of all families' scores and that of their worse half; larger is better. A
    family's score is the mean of its two figures here.

    ``pixel_ap``: by family. ``separation``: how well the image score would separate a part with such a defect from a good part,
    2 AUROC - 1.
    """

    value: float
    pixel_ap: dict[str, float]
    separation: dict[str, float]


@dataclass(frozen=True)
class TuneSet:
    """Whole images at working scale: ``good`` ones, and ``defects`` with their labels."""

    good: list[NDArray[np.uint8]]
    defects: list[LabelledImage]


def tune_set(good: Sequence[LabelledImage], defects: Sequence[LabelledImage], scale: float, most: int = MOST) -> TuneSet:
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
            small.append(LabelledImage(exam.name, image, label, exam.family, exam.difficulty))
    clean = [at_working_scale(exam.image, scale) for exam in good[:most]]
    return TuneSet(clean, small)


@dataclass(frozen=True)
class PooledMaps:
    """One pooling of all images, in its units: the largest value on each good image, and each defect's map (every second row and
    column)."""

    good: NDArray[np.float64]
    maps: list[NDArray[np.float32]]


@dataclass(frozen=True)
class MapCache:
    """Raw maps of ``detectors`` (views ``reductions``) on a tune set, made once and fused in many ways."""

    detectors: tuple[Detector, ...]
    reductions: tuple[int, ...]
    tune: TuneSet
    good: list[list[Tensor]]
    defects: list[list[Tensor]]
    cache: dict[MapPooling, PooledMaps] = field(default_factory=dict)

    @torch.no_grad()
    def pooled_by(self, pooling: MapPooling) -> PooledMaps:
        """What ``pooling`` alone makes of the images."""
        if pooling not in self.cache:
            inspector = Inspector(list(self.detectors), 1.0, self.reductions, [pooling]).to(self.good[0][0].device)
            fit_fusion(inspector, self.good)

            def fused(raw: list[Tensor], image: NDArray[np.uint8]) -> NDArray[np.float32]:
                return inspector.fused(raw, image.shape[0], image.shape[1])[0, 0].cpu().numpy()

            good = [float(fused(raw, image).max()) for raw, image in zip(self.good, self.tune.good, strict=True)]
            seen = zip(self.defects, self.tune.defects, strict=True)
            maps = [np.ascontiguousarray(fused(raw, exam.image)[::2, ::2]) for raw, exam in seen]
            self.cache[pooling] = PooledMaps(np.array(good), maps)
        return self.cache[pooling]


def cache_maps(detectors: Sequence[Detector], tune: TuneSet, reductions: Sequence[int] = ()) -> MapCache:
    """Run ``detectors`` (evaluation mode, any device) over ``tune``."""
    keep_freed_memory()
    inspector = Inspector(list(detectors), 1.0, reductions).to(detectors[0].device).eval()
    seen = [[raw_maps(inspector, image) for image in images] for images in (tune.good, [exam.image for exam in tune.defects])]
    return MapCache(tuple(detectors), inspector.reductions, tune, seen[0], seen[1])


@torch.no_grad()
def update_maps(cached: MapCache, changed: Collection[int]) -> MapCache:
    """``cached`` after the detectors of numbers ``changed`` have changed; what the others made of the images is kept."""
    device = cached.detectors[0].device
    inspector = Inspector(list(cached.detectors), 1.0, cached.reductions).to(device).eval()

    def again(image: NDArray[np.uint8], before: list[Tensor]) -> list[Tensor]:
        working = inspector.working(torch.from_numpy(image)[None].to(device))
        return [inspector.raw_map(n, working) if n in changed else raw for n, raw in enumerate(before)]

    good = [again(image, raw) for image, raw in zip(cached.tune.good, cached.good, strict=True)]
    defects = [again(exam.image, raw) for exam, raw in zip(cached.tune.defects, cached.defects, strict=True)]
    kept = {pooling: read for pooling, read in cached.cache.items() if not set(changed) & set(inspector.members(pooling))}
    return MapCache(cached.detectors, cached.reductions, cached.tune, good, defects, kept)


def evaluate_fusion(cached: MapCache, poolings: Sequence[MapPooling] = ()) -> Objective:
    """The objective of the detectors, fused by ``poolings``, as of ``Inspector``: the largest of them counts."""
    read = [cached.pooled_by(pooling) for pooling in poolings or [MapPooling(view) for view in sorted(set(cached.reductions))]]
    seen = [(exam, np.maximum.reduce([r.maps[i] for r in read])) for i, exam in enumerate(cached.tune.defects)]
    return objective_of(np.max([r.good for r in read], axis=0).tolist(), seen)


def objective_of(good_scores: Sequence[float], seen: Sequence[tuple[LabelledImage, NDArray[np.float32]]]) -> Objective:
    """The objective of whatever gave ``good_scores``, and a map (every second row and column) of each exam defect."""
    pixel_ap: dict[str, float] = {}
    separation: dict[str, float] = {}
    for family in sorted({exam.family for exam, _ in seen if exam.family}):
        shown = [(exam.label[::2, ::2], m) for exam, m in seen if exam.family == family and exam.label is not None]
        truth, scores = pooled([m for _, m in shown], [label for label, _ in shown], stride=1)
        pixel_ap[family] = average_precision(truth, scores)
        separation[family] = float(np.mean([separability(_peak(label, m), good_scores) for label, m in shown]))
    if not pixel_ap:
        return Objective(0.0, {}, {})
    values = sorted(0.5 * pixel_ap[family] + 0.5 * separation[family] for family in pixel_ap)
    worse = values[: (len(values) + 1) // 2]
    return Objective(0.5 * float(np.mean(values)) + 0.5 * float(np.mean(worse)), pixel_ap, separation)


def _peak(label: NDArray[np.float32], shown: NDArray[np.float32]) -> float:
    """What the map ``shown`` gives for the defect itself: its largest value on ``label`` and nearby."""
    near = cv2.dilate((label > 0).astype(np.uint8), np.ones((NEAR, NEAR), np.uint8)) > 0
    return float(shown[near].max())


def separability(peak: float, good_scores: Sequence[float]) -> float:
    """2 AUROC - 1 of parts with a defect that gives ``peak``, against good ones.

    A part with a defect scores ``peak``, or what it would score without the defect if that is higher. Each good image stands in
    for that part and is compared with every other one. Taking only the image that the defect was drawn on would let chance
    decide: with few images, a family came out far below zero because its good image scored less than the others. A single good
    image is compared with the peak itself.
    """
    good = np.asarray(good_scores, np.float64)
    if len(good) < 2:
        return float(np.sign(peak - good).mean()) if len(good) else 0.0
    part, other = good[:, None], good[None]
    won = np.sign(np.maximum(part, peak) - other)
    return float((won.sum() - np.trace(won)) / (len(good) * (len(good) - 1)))


def objective(detectors: Sequence[Detector], tune: TuneSet, reductions: Sequence[int] = ()) -> Objective:
    """Examine ``detectors``, fused, on ``tune``, at the usual smoothing."""
    return evaluate_fusion(cache_maps(detectors, tune, reductions))
