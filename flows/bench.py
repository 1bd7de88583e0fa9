"""The benchmark: what a changeover trains on a product's good images, measured on its real test images, once.

The stages are those of a changeover, run in a working folder of their own, without servers, git or DVC.
"""

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import BadBatch
from core.files import write_json
from data.batch import MIN_IMAGES, BatchFolder
from data.benchmark_set import BenchmarkSet
from data.yaml_file import write_yaml
from flows.presets import RunRequest
from flows.stages import Report, run_alone

STAGES = {"regenerate": "data.defects.regenerate", "tune": "models.tune", "train": "models.train"}


def bench(
    product: BenchmarkSet,
    order: RunRequest,
    work: Path,
    report: Report,
    overrides: dict[str, Any] | None = None,
    teacher: Path | None = None,
) -> dict[str, Any]:
    """Train on the good images of ``product`` and measure, in the empty folder ``work``; every figure of the table.

    ``overrides``: sections of ``params.yaml`` that differ from the order's, for ablations. ``teacher``: a folder that holds one
    (``models.teachers.teacher_file``), None for detectors that start from nothing. Where the overrides name a companion, each
    kind of network is also assembled and measured alone. BadBatch for a set that cannot be used; StageError if a stage fails."""
    from data.image import read_image
    from models.evaluation.assemble import assemble
    from models.evaluation.exam import read_batch
    from models.evaluation.measure import measure
    from models.settings import EvaluateSettings
    from models.teachers.teacher_file import CARD, WEIGHTS
    from models.training.trained import fused_text, of_kind, read_trained, teacher_text

    folder = BatchFolder(work)
    params = order.params()
    for section, values in (overrides or {}).items():
        params[section] = {**params.get(section, {}), **values} if isinstance(values, dict) else values
    report("reading images", None)
    product, images = of_one_kind(product, [read_image(file) for file, _ in product.train])
    split = lay_out(product, folder, params, images)
    if teacher is not None:
        folder.file("teacher").mkdir()
        for name in (WEIGHTS, CARD):
            shutil.copyfile(teacher / name, folder.file("teacher") / name)
    started = time.monotonic()
    for stage, module in STAGES.items():
        run_alone(folder, stage, module, folder.path / f"{stage}.log", report)
    batch = read_batch(folder, ("train", "tune", "calibrate"))
    detectors, training = read_trained(folder, batch.channels)
    report("assembling", None)
    wish = EvaluateSettings().overkill_target
    properties = {"product": product.name[:60], "batch": "bench", "detector": training["detector"]}
    assembled = assemble(batch, detectors, training, folder.file("model.onnx"), properties, wish)
    seconds = time.monotonic() - started
    total = len(product.test)
    figures = measure(assembled.exported, product.test, lambda done: report("measuring", done / total))
    alone: dict[str, Any] = {}
    kinds = sorted({detector.kind for detector in detectors})
    for kind in kinds if len(kinds) > 1 and "companion" in (overrides or {}).get("train", {}) else ():
        report(f"{kind} networks alone", None)
        target = folder.file(f"model-{kind}.onnx")
        one = assemble(batch, *of_kind(kind, detectors, training), target, properties, wish)
        alone[kind] = {"objective": one.fusion.value, "poolings": [str(pooling) for pooling in one.fusion.poolings],
                       **measure(one.exported, product.test)}  # fmt: skip
    result = {
        "product": product.name, "images": {subset: len(names) for subset, names in split.items()}, "seconds": round(seconds, 1),
        "seed": order.seed, "preset": order.preset, "budget": order.seconds, "chosen": training["chosen"],
        "scale": training["scale"], "views": list(assembled.fusion.reductions),
        "poolings": [str(pooling) for pooling in assembled.fusion.poolings],
        "classification_weight": assembled.fusion.classification_weight, "share": assembled.fusion.share,
        "steps": [log["steps"] for log in training["networks"]],
        "objective": assembled.fusion.value, "tried": assembled.fusion.tried,
        "fused": fused_text(training, assembled.fusion.chosen), "teacher": teacher_text(training), "alone": alone,
        "threshold": assembled.exported.threshold, **figures,
    }  # fmt: skip
    write_json(folder.file("bench.json"), result)
    return result


def of_one_kind(product: BenchmarkSet, images: list[np.ndarray]) -> tuple[BenchmarkSet, list[np.ndarray]]:
    """``product`` with the training images that have as many channels as most of them, as ingest would take them."""
    colour = 2 * sum(image.shape[2] == 3 for image in images) > len(images)
    kept = [i for i, image in enumerate(images) if (image.shape[2] == 3) == colour]
    return replace(product, train=tuple(product.train[i] for i in kept)), [images[i] for i in kept]


def lay_out(product: BenchmarkSet, folder: BatchFolder, params: dict[str, Any], images: list[np.ndarray]) -> dict[str, list[str]]:
    """Links to the images, ``split.json`` and ``params.yaml``; the names of each subset."""
    from data.split import SUBSETS, split_batch
    from data.validation.duplicates import find_duplicates, thumbnail

    if len(images) < 6:
        raise BadBatch(f"{product.name} has {len(images)} good training images; a benchmark needs at least 6")
    folder.good.mkdir(parents=True)
    groups: dict[str, str | None] = {}
    for number, (file, group) in enumerate(product.train):
        name = f"{number:05d}{file.suffix.lower()}"
        (folder.good / name).symlink_to(file.resolve())
        groups[name] = group
    names, parts = list(groups), {}
    if len(names) >= MIN_IMAGES:
        thumbnails = np.stack([thumbnail(image.mean(axis=2)) for image in images])
        found = split_batch(groups, params["seed"], find_duplicates(names, thumbnails, groups)).as_json()
        split, parts = {subset: list(found[subset]) for subset in SUBSETS}, found["groups"]
    else:  # fewer than a changeover takes: nothing is measured on the subset test here, so it repeats tune
        split = {"train": names[:-4], "tune": names[-4:-2], "calibrate": names[-2:], "test": names[-4:-2]}
    write_json(folder.file("split.json"), {**split, "groups": parts})
    write_yaml(folder.file("params.yaml"), params)
    return split


def table(results: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Rows of the benchmark table, its header first, and the mean last where there are several products."""
    header = ("product", "train", "image AUROC", "image AP", "F1 max", "pixel AP", "AUPRO", "overkill", "escape", "minutes", "ms")
    rows: list[tuple[str, ...]] = [header]
    for r in results:
        over, escape = (f"{r[k]['rate']:.1%} ({r[k]['low']:.1%} to {r[k]['high']:.1%})" for k in ("overkill", "escape"))
        rows.append((
            r["product"], str(sum(r["images"].values())), *(f"{r[k]:.3f}" for k in FIGURES), over, escape,
            f"{r['seconds'] / 60:.1f}", f"{r['ms_per_image']:.0f}",
        ))  # fmt: skip
    if len(results) > 1:
        means = (f"{sum(r[k] for r in results) / len(results):.3f}" for k in FIGURES)
        rows.append(("mean", "", *means, "", "", f"{sum(r['seconds'] for r in results) / 60 / len(results):.1f}", ""))
    return rows


FIGURES = ("image_auroc", "image_ap", "f1_max", "pixel_ap", "aupro")


def markdown(results: list[dict[str, Any]]) -> str:
    """The table, the kinds of defect below it, and what it was measured on."""
    from models.training.machine import environment

    rows = table(results)
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    kinds = [
        f"{r['product']}: " + ", ".join(f"{k} {v:.3f}" for k, v in r["kinds"].items()) for r in results if len(r["kinds"]) > 1
    ]
    if kinds:
        lines += ["", "Image AUROC by kind of defect. " + "; ".join(kinds) + "."]
    missed = [words for words in map(_not_judged, results) if words]
    if missed:
        lines += ["", f"Not judged, and so rejected whatever the score: {'; '.join(missed)}."]
    machine = ", ".join(f"{key} {value}" for key, value in environment().items())
    first = results[0]
    return "\n".join(
        [*lines, "", f"Seed {first['seed']}, budget {first['budget']:.0f} s, preset {first['preset']}; {machine}.", ""]
    )


def _not_judged(result: dict[str, Any]) -> str:
    """How many images of a product were not judged, in words; "" for none, or for figures of before."""
    counted = [(kind, one["count"], one["n"]) for kind, one in result.get("not_judged", {}).items()]
    told = ", ".join(f"{kind} {count} of {n}" for kind, count, n in counted)
    return f"{result['product']}: {told}" if any(count for _, count, _ in counted) else ""
