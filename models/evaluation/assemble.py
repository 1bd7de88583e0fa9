"""Assembly: trained detectors become one exported file with its threshold, which alone is evaluated and shipped."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.detectors.detector import Detector
from models.evaluation.exam import Batch, LabelledImage
from models.evaluation.fusion import Fusion, choose_fusion
from models.evaluation.objective import tune_set
from models.exported import ExportedInspector, Inspection
from models.inspection.calibration import Calibration, calibrate
from models.inspection.export import export, set_threshold
from models.inspection.inspector import Inspector, fit_fusion
from models.inspection.region import Region


@dataclass(frozen=True)
class ScoredImage:
    """An exam or good image with what the exported file said of it."""

    exam: LabelledImage
    seen: Inspection

    @property
    def rank(self) -> float:
        """Its score; infinity where it was not judged, for such an image is rejected at every threshold."""
        return self.seen.score if self.seen.judged else math.inf

    @property
    def recorded(self) -> float | None:
        """Its score; None where it was not judged, for the score then says nothing."""
        return self.seen.score if self.seen.judged else None


@dataclass(frozen=True)
class Assembled:
    """``inspector``: as torch runs it; ``exported``: as the line runs it. ``calibrated``: the images that gave the threshold, and
    those that were not judged."""

    inspector: Inspector
    exported: ExportedInspector
    fusion: Fusion
    calibration: Calibration
    calibrated: list[ScoredImage]


def score_images(
    inspector: ExportedInspector, exams: Sequence[LabelledImage], on_image: Callable[[str], None] = lambda name: None
) -> list[ScoredImage]:
    """What ``inspector`` says of each image; ``on_image`` is called with its name."""
    scored = []
    for exam in exams:
        scored.append(ScoredImage(exam, inspector.inspect(exam.image)))
        on_image(exam.name)
    return scored


def giving_threshold(calibrated: Sequence[ScoredImage]) -> list[ScoredImage]:
    """Those that were judged. All where fewer than two were: a report is made, and the gate on what is not judged fails."""
    judged = [one for one in calibrated if one.seen.judged]
    return judged if len(judged) >= 2 else list(calibrated)


@torch.no_grad()
def _maps_of_judged(inspector: Inspector, images: Sequence[NDArray[np.uint8]]) -> list[list[Tensor]]:
    """Raw maps of each image that ``inspector`` can judge: the map of others says nothing of good parts. Of all where it can
    judge fewer than two."""
    every, judged = [], []
    for image in images:
        working = inspector.working(torch.from_numpy(image)[None])
        seen = [inspector.raw_map_and_judged(number, working) for number in range(len(inspector.detectors))]
        every.append([raw for raw, _ in seen])
        judged.append(all(bool(said) for _, said in seen if said is not None))
    return [maps for maps, said in zip(every, judged, strict=True) if said] if sum(judged) >= 2 else every


def assemble(
    batch: Batch,
    detectors: Sequence[Detector],
    training: dict[str, Any],
    target: Path,
    properties: dict[str, str],
    overkill_target: float,
    flips: int = 1,
    region: Region | None = None,
    on_image: Callable[[str], None] = lambda name: None,
) -> Assembled:
    """Write ``target``: views and smoothing chosen on tuning images, threshold from calibration images that are judged, for
    ``overkill_target``.

    ``training``: the content of ``training.json``; ``properties``: metadata of the file.
    """
    fusion = choose_fusion(
        detectors, training["reductions"], tune_set(batch.good["tune"], batch.defects["tune"], training["scale"])
    )
    inspector = Inspector(
        [detectors[n] for n in fusion.chosen], training["scale"], fusion.reductions, fusion.poolings, flips, region
    ).eval()
    fit_fusion(inspector, _maps_of_judged(inspector, [exam.image for exam in batch.good["tune"]]))
    export(inspector, target, batch.channels, {**properties, "threshold": "nan", "pixel_threshold": "nan"})
    calibrated = score_images(ExportedInspector(target), batch.good["calibrate"], on_image)
    giving = giving_threshold(calibrated)
    calibration = calibrate([e.seen.score for e in giving], overkill_target, [e.exam.shows for e in giving])
    # The score is the map's largest value: one rejecting pixel rejects the part, so both thresholds are one.
    set_threshold(target, calibration.threshold, calibration.threshold)
    exported = ExportedInspector(target)
    # Their verdicts were given before there was a threshold; nothing else depends on it.
    calibrated = [
        replace(e, seen=replace(e.seen, verdict=e.seen.score > exported.threshold or not e.seen.judged)) for e in calibrated
    ]
    return Assembled(inspector, exported, fusion, calibration, calibrated)
