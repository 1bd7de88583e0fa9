"""What teachers are worth: each family with each teacher, and with random features, on real test images, looked at once.

    python benchmarks/teachers.py DATA OUT STEPS [--families "F;…"] [--products P,…] TEACHER_FOLDER…

As many steps for all (PatchCore has none), one seed, one network at working scale; poolings and threshold are chosen on exam
defects and good tuning images, as in a changeover. Every combination leaves ``OUT/<product>/<family> <teacher>.json`` and its
weights; those that are there are not made again. Prints the table of what OUT holds.
"""

import argparse
import json
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from core.files import write_json
from data.batch import BatchFolder
from data.benchmark_set import BenchmarkSet, find_sets, read_set
from data.defects.recipe import Recipe
from data.defects.regenerate import regenerate
from data.defects.scale import measure_scale
from data.image import read_image
from flows.bench import lay_out, of_one_kind
from flows.presets import RunRequest
from models.detectors.catalogue import build_detector, families
from models.detectors.detector import Detector
from models.detectors.teaching import teach, with_teacher
from models.evaluation.assemble import assemble
from models.evaluation.exam import Batch, read_batch
from models.evaluation.measure import measure
from models.inspection.preprocess import at_working_scale, working_scale
from models.teachers.teacher_file import TeacherFile, read_teacher
from models.training.budget import Plan
from models.training.crops import CropPlan
from models.training.fit import Spec, fit

FAMILIES = ("patchcore", "denoising_student", "stpm", "rstpm", "uninformed_students")
FIGURES = ("image_auroc", "pixel_ap", "aupro")
RATES = {"stpm": 2e-3, "rstpm": 2e-3, "uninformed_students": 2e-3}
BACKBONE = {"backbone": "resnet10t"}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "rstpm without second pair": ("rstpm", {"second": False}),
    "rstpm without attention": ("rstpm", {"attention": False}),
    "rstpm, both teachers alike": ("rstpm", {"second_backbone": "resnet10t"}),
}
"""Ablations: names for ``--families``, the family, and what differs."""


def prepared(folder: Path, work: Path) -> tuple[BenchmarkSet, Batch, float]:
    """The set, its images and exam defects, drawn where that was not done yet, and its working scale."""
    product = read_set(folder)
    product, images = of_one_kind(product, [read_image(file) for file, _ in product.train])
    batch_folder = BatchFolder(work)
    if not batch_folder.file("defects").exists():
        lay_out(product, batch_folder, RunRequest("quick").params(), images)
        regenerate(batch_folder)
    batch = read_batch(batch_folder, ("train", "tune", "calibrate"))
    return product, batch, working_scale([exam.image for exam in batch.good["train"]], 700_000)


def spec_of(name: str, teacher: TeacherFile | None) -> Spec:
    """How a family or variant is trained, with ``teacher``."""
    family, differing = VARIANTS.get(name, (name, {}))
    own: dict[str, Any] = {} if family == "uninformed_students" else BACKBONE
    if family.startswith("unet3plus"):
        own = {"encoder": "tu-regnetx_002", "depth": 4, "width": 8}
    settings = {**with_teacher(family, own, teacher.card if teacher else None), **differing}
    return Spec(family, settings, "linear", RATES.get(family, 5e-3))


def cell(
    product: BenchmarkSet, batch: Batch, scale: float, family: str, teacher: TeacherFile | None, steps: int, out: Path
) -> None:
    """Train, assemble, measure; write the figures and the weights beside them."""
    images = [at_working_scale(exam.image, scale) for exam in batch.good["train"]]
    spec = spec_of(family, teacher)
    crops = CropPlan(Recipe(), measure_scale(images), spec.side, 0, spec.schedule, 1)
    started = time.monotonic()

    def begin(detector: Detector) -> None:
        teach(detector, teacher)

    detector, log = fit(images, crops, spec, Plan(600.0, steps, 0, threads=1), begin=begin)
    seconds = time.monotonic() - started
    torch.save({"settings": spec.settings, "state": detector.state_dict()}, out.with_suffix(".pt"))
    properties = {"product": product.name[:60], "batch": "bench", "detector": family}
    training: dict[str, Any] = {"scale": scale, "reductions": [1]}
    assembled = assemble(batch, [detector], training, out.with_suffix(".onnx"), properties, 0.01)
    figures = measure(assembled.exported, product.test)
    write_json(
        out,
        {
            "product": product.name, "family": family, "teacher": teacher.card.name if teacher else "random", "steps": log.steps,
            "train_seconds": round(seconds, 1), "objective": assembled.fusion.value,
            "poolings": [str(pooling) for pooling in assembled.fusion.poolings], **figures,
        },
    )  # fmt: skip
    out.with_suffix(".onnx").unlink()


def pair(product: BenchmarkSet, batch: Batch, scale: float, family: str, folder: Path) -> None:
    """Fuse the segmentation network that lies in ``folder`` with the network of ``family`` whose teacher is best on exam defects,
    and measure."""
    found = [json.loads(file.read_text()) for file in folder.glob("*.json")]
    best = max((one for one in found if one["family"] == family), key=lambda one: one["objective"])
    members = [("unet3plus", "unet3plus random"), (best["family"], f"{best['family']} {best['teacher']}")]
    detectors = []
    for member, name in members:
        saved = torch.load(folder / f"{name}.pt", weights_only=True)
        detector = build_detector(member, batch.channels, saved["settings"])
        detector.load_state_dict(saved["state"])
        detectors.append(detector.eval())
    target = folder / "pair.onnx"
    properties = {"product": product.name[:60], "batch": "bench", "detector": "pair"}
    assembled = assemble(batch, detectors, {"scale": scale, "reductions": [1, 1]}, target, properties, 0.01)
    record = {
        "product": product.name,
        "family": f"unet3plus and {family}",
        "teacher": best["teacher"],
        "steps": 0,
        "train_seconds": 0.0,
    }
    poolings = [str(pooling) for pooling in assembled.fusion.poolings]
    measured = measure(assembled.exported, product.test)
    write_json(
        folder / f"unet3plus and {family}.json", {**record, "objective": assembled.fusion.value, "poolings": poolings, **measured}
    )
    target.unlink()


def table(out: Path) -> str:
    """Markdown: image AUROC / pixel AP / AUPRO of each family with each teacher on each product, mean seconds and ms an
    image; then what each teacher gives over random features, and the denoising student over STPM, on the mean of what both were
    measured with."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for file in sorted(out.glob("*/*.json")):
        one = json.loads(file.read_text())
        if "family" in one:
            found[one["family"], one["teacher"], one["product"]] = one
    products = sorted({product for _, _, product in found})
    lines = [
        f"| family | teacher | {' | '.join(products)} | training, s | ms an image |",
        "|---|---|---|---|" + "---|" * len(products),
    ]
    for family, teacher in sorted({(family, teacher) for family, teacher, _ in found}):
        cells = [found.get((family, teacher, product)) for product in products]
        record = [
            " / ".join(f"{cell[key]:.3f}"[1 if cell[key] < 1 else 0 :] for key in FIGURES) if cell else "–" for cell in cells
        ]
        seconds, ms = (fmean(cell[key] for cell in cells if cell) for key in ("train_seconds", "ms_per_image"))
        lines.append(f"| {family} | {teacher} | {' | '.join(record)} | {seconds:.0f} | {ms:.0f} |")
    lines.append("")
    for teacher in sorted({teacher for family, teacher, _ in found if family in FAMILIES} - {"random"}):
        pairs = [(found[f, t, p], found[f, "random", p]) for f, t, p in found if t == teacher and (f, "random", p) in found]
        lines.append(f"{teacher} over random: {_gains(pairs)}.")
    pairs = [
        (one, found["stpm", t, p]) for (f, t, p), one in found.items() if f == "denoising_student" and ("stpm", t, p) in found
    ]
    return "\n".join([*lines, f"denoising_student over stpm: {_gains(pairs)}."])


def _gains(pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> str:
    """By how much the first of each pair is better on the mean, and how often it is in image AUROC."""
    if not pairs:
        return "nothing was measured with both"
    means = ", ".join(f"{key} {fmean(one[key] - other[key] for one, other in pairs):+.3f}" for key in FIGURES)
    better = sum(one["image_auroc"] > other["image_auroc"] for one, other in pairs)
    return f"{means}; image AUROC better in {better} of {len(pairs)}"


def main() -> None:
    """See the head of this file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("steps", type=int)
    parser.add_argument("--families", default=";".join(FAMILIES))
    parser.add_argument("--products", default="")
    parser.add_argument("--pair", metavar="FAMILY", help="fuse OUT's segmentation networks with this family's")
    parser.add_argument("teachers", type=Path, nargs="*")
    wanted = parser.parse_intermixed_args()
    teachers = [None, *(read_teacher(folder) for folder in wanted.teachers)]
    torch.set_num_threads(1)
    for family in filter(None, wanted.families.split(";")):
        for folder in find_sets(wanted.data):
            if wanted.products and folder.name not in wanted.products.split(","):
                continue
            ready = None
            for teacher in teachers:
                kind = families()[VARIANTS.get(family, (family,))[0]].teacher_kind
                if teacher is not None and kind != teacher.card.kind:
                    continue
                out = wanted.out / folder.name / f"{family} {teacher.card.name if teacher else 'random'}.json"
                if out.exists():
                    continue
                ready = ready or prepared(folder, (wanted.out / "work" / folder.name).resolve())
                out.parent.mkdir(parents=True, exist_ok=True)
                cell(*ready, family, teacher, wanted.steps, out)
                print(out.stem, folder.name, json.loads(out.read_text())["image_auroc"], flush=True)
    if wanted.pair:
        for folder in find_sets(wanted.data):
            if folder.name in wanted.products.split(","):
                pair(*prepared(folder, (wanted.out / "work" / folder.name).resolve()), wanted.pair, wanted.out / folder.name)
    print(table(wanted.out))


if __name__ == "__main__":
    main()
