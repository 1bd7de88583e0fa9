"""Assembly: trained detectors become one exported file with its threshold, which alone is evaluated and shipped."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from models.detectors.detector import Detector
from models.evaluation.exam import Batch, LabelledImage
from models.evaluation.fusion import Fusion, choose_fusion
from models.evaluation.objective import tune_set
from models.exported import ExportedInspector, Inspection
from models.inspection.calibration import Calibration, calibrate
from models.inspection.export import export, set_threshold
from models.inspection.inspector import Inspector, fit_fusion, raw_maps
from models.inspection.region import Region


@dataclass(frozen=True)
class ScoredImage:
    """An exam or good image with what the exported file said of it."""

    exam: LabelledImage
    seen: Inspection


@dataclass(frozen=True)
class Assembled:
    """``inspector``: as torch runs it; ``exported``: as the line runs it. ``calibrated``: the images that gave the threshold."""

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
    """Write ``target``: views and smoothing chosen on tuning images, threshold from calibration images, for ``overkill_target``.

    ``training``: the content of ``training.json``; ``properties``: metadata of the file.
    """
    fusion = choose_fusion(
        detectors, training["reductions"], tune_set(batch.good["tune"], batch.defects["tune"], training["scale"])
    )
    inspector = Inspector(
        [detectors[n] for n in fusion.chosen], training["scale"], fusion.reductions, fusion.poolings, flips, region
    ).eval()
    fit_fusion(inspector, [raw_maps(inspector, exam.image) for exam in batch.good["tune"]])
    export(inspector, target, batch.channels, {**properties, "threshold": "nan", "pixel_threshold": "nan"})
    calibrated = score_images(ExportedInspector(target), batch.good["calibrate"], on_image)
    calibration = calibrate([e.seen.score for e in calibrated], overkill_target, [e.exam.shows for e in calibrated])
    # The score is the map's largest value: one rejecting pixel rejects the part, so both thresholds are one.
    set_threshold(target, calibration.threshold, calibration.threshold)
    exported = ExportedInspector(target)
    # Their verdicts were given before there was a threshold; nothing else depends on it.
    calibrated = [
        replace(e, seen=replace(e.seen, verdict=e.seen.score > exported.threshold or not e.seen.judged)) for e in calibrated
    ]
    return Assembled(inspector, exported, fusion, calibration, calibrated)
