"""Stage ``evaluate``: export, calibrate, then measure the exported file once on the frozen test images; write the report."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.errors import BadBatch
from core.files import file_digest, replacing_folder, write_json
from data.batch import BatchFolder
from data.progress import Progress
from data.split import seen_in_training
from data.stage import read_params, read_settings, run_stage
from models.detectors.detector import Detector
from models.detectors.template_detector import TemplateDetector
from models.evaluation.assemble import ScoredImage, assemble, giving_threshold, score_images
from models.evaluation.exam import MEASURING, Batch, LabelledImage, read_batch, read_split
from models.evaluation.gates import check_gates
from models.evaluation.metrics import auroc, average_precision, pooled
from models.evaluation.metrics_file import Champion, Family, Figures, Found, Metrics, NotJudged, Scores, Study, Timing, Training
from models.evaluation.outside import in_view, measure_outside
from models.evaluation.rate import rate, rate_over_sources
from models.evaluation.trade_off import remedy, trade_off
from models.exported import ExportedInspector
from models.inspection.calibration import Calibration, Crossing
from models.inspection.inspector import Inspector
from models.inspection.region import Region, mask_of
from models.report.example import Example
from models.report.page import ReportContents, write_report
from models.settings import ReplayedEvaluation
from models.training.curriculum import difficulty_range
from models.training.machine import environment, packages
from models.training.trained import fused_text, read_trained, teacher_text
from models.training.training_log import progress_at
from models.training.warm_start import learned_before

EASY = 0.5
CHECKED = 4
"""Defective images on which the exported file is held against the trained detectors, beside a good one."""


def found(good: list[ScoredImage], defects: list[ScoredImage], threshold: float) -> Found:
    """How well a model with this ``threshold`` finds ``defects``. What is not judged is rejected at every threshold, so that it
    ranks above all scores."""
    scores = [e.rank for e in defects]
    labels = [e.exam.label for e in defects if e.exam.label is not None]
    truth, values = (
        pooled([e.seen.map for e in defects], list(labels)) if defects else (np.zeros(0, bool), np.zeros(0, np.float32))
    )
    return Found(
        image_auroc=round(auroc([0] * len(good) + [1] * len(scores), [e.rank for e in good] + scores), 5),
        pixel_ap=round(average_precision(truth, values), 5),
        escape=rate_over_sources([s <= threshold for s in scores], [e.exam.good_image for e in defects]),
    )


def figures(
    good: list[ScoredImage], defects: list[ScoredImage], threshold: float, of_easy: Found, not_judged: NotJudged | None
) -> Figures:
    """Of one model at its ``threshold``; ``of_easy``: what it finds of the easy defects."""
    families = sorted({e.exam.family for e in defects if e.exam.family})
    by_family = {f: found(good, [e for e in defects if e.exam.family == f], threshold) for f in families}
    return Figures(
        **vars(found(good, defects, threshold)),
        overkill=rate(sum(e.rank > threshold for e in good), len(good)),
        not_judged=not_judged,
        families={name: Family(**vars(figure), held_out=True) for name, figure in by_family.items()},
        easy=of_easy,
    )


def not_judged(
    inspector: ExportedInspector, good: list[ScoredImage], defects: list[ScoredImage], calibrated: list[ScoredImage] | None = None
) -> NotJudged | None:
    """How many of each ``inspector`` did not judge; None where it judges every image."""
    if not inspector.declines:
        return None
    said = [None if one is None else sum(not e.seen.judged for e in one) for one in (calibrated, good, defects)]
    return NotJudged(calibrate=said[0], test=said[1] or 0, defects=said[2] or 0)


def easy(defects: list[ScoredImage]) -> list[ScoredImage]:
    """Those of ``defects`` that gates call easy."""
    return [e for e in defects if (e.exam.difficulty or 0) < EASY]


def evaluate(folder: BatchFolder) -> None:
    """Write ``report/``, whole: ``model.onnx``, ``report.html``, ``good.png``, ``defects.png``, ``metrics.json``."""
    with replacing_folder(folder.file("report"), folder.work / "report") as out:
        summary = _evaluated(folder, out)
    print(summary)


def _evaluated(folder: BatchFolder, out: Path) -> str:
    """Write the files into ``out``; the figures in one line."""
    started = time.monotonic()
    params = read_params(folder)
    settings = read_settings(params, "evaluate", ReplayedEvaluation)
    record = folder.read_record()
    batch = read_batch(folder, ("train", "tune", "calibrate", "test"))
    detectors, training = read_trained(folder, batch.channels)
    known = learned_before(training)
    batch = batch.measuring_without(known)
    region = settings.region.as_region()
    every = [*batch.good["test"], *batch.defects["test"]]
    view = in_view(batch, Region() if settings.every_defect else region)
    batch = view.batch
    model = out / "model.onnx"
    progress = Progress(folder.path, "evaluate")
    count = len(batch.good["calibrate"]) + len(batch.good["test"]) + len(batch.defects["test"])
    done = 0

    def on_image(name: str) -> None:
        nonlocal done
        done = min(done + 1, count)
        progress.update(done, count, name)

    assembled = assemble(
        batch, detectors, training, model,
        {"product": record.product, "batch": record.batch, "detector": training["detector"]},
        settings.overkill_target, settings.flips, region, on_image,
    )  # fmt: skip
    exported, calibration, fusion = assembled.exported, assembled.calibration, assembled.fusion
    calibrated, giving = assembled.calibrated, giving_threshold(assembled.calibrated)
    before = time.monotonic()
    good = score_images(exported, batch.good["test"], on_image)
    per_image = (time.monotonic() - before) / max(len(good), 1)
    defects = score_images(exported, batch.defects["test"], on_image)
    of_easy = found(good, easy(defects), exported.threshold)
    missed = not_judged(exported, good, defects, calibrated)
    ours = figures(good, defects, exported.threshold, of_easy, missed)
    outside = (
        None if region.whole or settings.every_defect
        else measure_outside(assembled.inspector, exported.threshold, every, len(view.left_out))
    )  # fmt: skip
    champion = _champion(folder, batch.good["test"], batch.defects["test"], batch.channels)
    parity, verdicts = _parity(assembled.inspector, exported.threshold, [*good[:1], *_spread_over(defects, CHECKED)])
    gates = check_gates(
        settings.gates, ours.overkill, calibration.target,
        rate(ours.escape.count, ours.escape.n), rate(of_easy.escape.count, of_easy.escape.n),
        of_easy.image_auroc, parity, verdicts, champion,
        remedy(
            record.product, [e.seen.score for e in giving], [e.exam.shows for e in giving],
            [e.rank for e in easy(defects)], settings.gates.easy_escape,
        ),
        None if missed is None else rate(missed.calibrate or 0, len(calibrated)),
    )  # fmt: skip
    trials = json.loads((folder.file("study") / "trials.json").read_text(encoding="utf-8"))
    metrics = Metrics(
        **vars(ours), schema=1, product=record.product, batch=record.batch, preset=str(params.get("preset", "")),
        seed=int(params.get("seed", 0)), model_digest=file_digest(model), images_digest=record.digest,
        threshold=exported.threshold, pixel_threshold=exported.pixel_threshold,
        overkill_target=calibration.target, overkill_wish=settings.overkill_target,
        guarantee=_guarantee(folder, batch, calibration, missed),
        images={subset: len(exams) for subset, exams in batch.good.items()},
        **({"learned_before": tuple(sorted(known))} if known else {}),
        **({} if outside is None else {"outside": outside}),
        gates=tuple(gates), passed=all(gate.passed for gate in gates), champion=champion, detector=training["detector"],
        settings={**training["settings"], **training["chosen"], "networks": len(fusion.chosen),
                     "fused": fused_text(training, fusion.chosen), "teacher": teacher_text(training),
                     "views": list(fusion.reductions), "poolings": [str(pooling) for pooling in fusion.poolings],
                     "classification_weight": fusion.classification_weight,
                     **({} if fusion.share is None else {"share": fusion.share}),
                     **({"left_out": fusion.left_out} if fusion.left_out else {}),
                     "flips": settings.flips, "scale": training["scale"], "region": region.as_settings()},
        training=Training.model_validate(training), study=Study(trials=len(trials), best=training["chosen"]), fusion=fusion.tried,
        timing=Timing(tune_s=round(sum(t["seconds"] for t in trials), 1), train_s=round(training["seconds"], 1),
                      evaluate_s=round(time.monotonic() - started, 1), ms_per_image=round(1000 * per_image, 1)),
        environment=environment(), packages=packages(),
        trade_off=tuple(trade_off(
            [e.seen.score for e in giving], [e.exam.shows for e in giving], [e.rank for e in good],
            [e.rank for e in defects], [e.exam.good_image for e in defects],
        )),
        scores=Scores(**{name: tuple(e.recorded for e in scored)
                         for name, scored in (("calibrate", calibrated), ("test", good), ("defects", defects))}),
    )  # fmt: skip
    _report(
        out,
        metrics,
        folder,
        calibrated + good,
        defects,
        trials,
        training,
        region,
        compared_with(detectors, training["networks"], fusion.chosen),
    )
    write_json(out / "metrics.json", metrics.as_json())
    return (
        f"overkill {ours.overkill.count} of {ours.overkill.n}, escape {ours.escape.count} of {ours.escape.n}, "
        + ("" if missed is None else f"not judged {missed.test} good and {missed.defects} defective, ")
        + f"image AUROC {ours.image_auroc:.3f}, gates {'passed' if metrics.passed else 'failed'}"
        + (f", {len(view.left_out)} exam defects outside of the region not counted" if view.left_out else "")
    )


def _spread_over(scored: list[ScoredImage], most: int) -> list[ScoredImage]:
    """At most ``most``, evenly chosen."""
    return [scored[i] for i in np.unique(np.linspace(0, len(scored) - 1, min(most, len(scored))).astype(int))]


@torch.no_grad()
def _parity(inspector: Inspector, threshold: float, scored: list[ScoredImage]) -> tuple[float, int]:
    """How far maps of the exported file are from those of the trained ``inspector`` at most, and how many verdicts differ by more
    than that explains."""
    largest, differ = 0.0, 0
    for one in scored:
        reference, score, _, *judged = inspector(torch.from_numpy(one.exam.image)[None])
        away = float(np.abs(reference[0].numpy() - one.seen.map).max())
        largest = max(largest, away)
        said = all(bool(both) for both in judged)
        differs = (float(score) > threshold) != (one.seen.score > threshold) and abs(float(score) - threshold) > away
        differ += said != one.seen.judged or (said and differs)
    return largest, differ


def _guarantee(folder: BatchFolder, batch: Batch, calibration: Calibration, missed: NotJudged | None = None) -> str:
    """What the threshold promises, and what the batch's split takes away from it."""
    split = read_split(folder)
    used = {subset: {exam.name for exam in batch.good[subset]} for subset in MEASURING}
    seen = {subset: len(used[subset].intersection(seen_in_training(split, subset))) for subset in MEASURING}
    crossing = Crossing(seen["calibrate"], seen["test"], bool(split.get("note")))
    text = crossing.qualify(calibration.guarantee, len(used["calibrate"]), len(used["test"]))
    if missed is None:
        return text
    return (
        f"{text} This holds for parts that the model finds in the image. The others are not judged and are taken out as well: "
        f"{missed.calibrate} of {len(used['calibrate'])} calibration images were."
    )


def _schedule(training: dict[str, Any]) -> list[tuple[float, float, float]]:
    """(progress, lowest difficulty, highest difficulty) of the first network's training."""
    log = training["networks"][0]
    planned, changes = max(int(log["steps_planned"]), 1), log.get("changes", [])
    paces = [(0.0, 0.0), *((progress_at(step, planned, changes), reached) for step, reached in log["competences"])]
    points = []
    for progress in np.linspace(0, 1, 41).tolist():
        competence = [reached for since, reached in paces if since <= progress][-1]
        points.append((progress, *difficulty_range(training["spec"]["schedule"], progress, competence)))
    return points


def _champion(folder: BatchFolder, good: list[LabelledImage], defects: list[LabelledImage], channels: int) -> Champion | None:
    """The champion's figures on the same frozen images, or None where there is none or it was made for other cameras."""
    source = folder.file("champion")
    try:
        card = json.loads((source / "champion.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadBatch(f"champion/champion.json in {folder.path} is missing or damaged; run 'changeover run' again") from error
    if card.get("version") is None:
        return None
    inspector = ExportedInspector(source / "model.onnx")
    if inspector.channels != channels:
        print(
            f"the champion (version {card['version']}) takes {inspector.channels} channels, "
            f"this batch has {channels}: not compared"
        )
        return None
    fine, faulty = score_images(inspector, good), score_images(inspector, defects)
    of_easy, missed = found(fine, easy(faulty), inspector.threshold), not_judged(inspector, fine, faulty)
    result = figures(fine, faulty, inspector.threshold, of_easy, missed)
    return Champion(version=card["version"], batch=card["batch"], threshold=inspector.threshold, **vars(result))


def _report(
    out: Path, metrics: Metrics, folder: BatchFolder, good: list[ScoredImage], defects: list[ScoredImage],
    trials: list[dict[str, Any]], training: dict[str, Any], region: Region,
    compared: dict[str, Any],
) -> None:  # fmt: skip
    examples = [
        Example(
            e.exam.image, e.seen.map, None if e.exam.label is None else np.round(e.exam.label * 255).astype(np.uint8),
            e.seen.score, e.seen.verdict, e.exam.name, e.exam.family, e.exam.difficulty,
            "good" if e.exam.label is None else "defect", e.seen.judged,
            None if region.whole else ~mask_of(region, *e.exam.image.shape[:2]),
        )
        for e in (*good, *defects)
    ]  # fmt: skip
    write_report(
        out / "report.html",
        ReportContents(
            metrics=metrics,
            validation=json.loads(folder.file("validation.json").read_text(encoding="utf-8")),
            examples=examples,
            study=trials,
            schedule=_schedule(training),
            learning=[(step, loss) for step, _, loss in training["networks"][0]["losses"]],
            record=folder.read_record(),
            **compared,
        ),
    )


def compared_with(detectors: Sequence[Detector], logs: Sequence[dict[str, Any]], chosen: Sequence[int]) -> dict[str, Any]:
    """For the report: the templates of the first detector that is read (``chosen``) and has some, for the others' come out of the
    same images; and how many training images match one. ``logs``: of the networks, in the order of the detectors."""
    for number in chosen:
        detector = detectors[number]
        if isinstance(detector, TemplateDetector) and detector.declines:
            return {"templates": detector.bank.shown(), "matched": int(logs[number]["matched"])}
    return {}


if __name__ == "__main__":
    run_stage(evaluate)
