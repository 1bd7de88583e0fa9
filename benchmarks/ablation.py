"""What each part of the recipe is worth, on rendered plates whose real defects share no code with the pseudo-defects.

    python benchmarks/ablation.py OUT.jsonl [STEPS]

Each family left out, labels that follow the change against binary ones, the curriculum's schedules, hard negatives, the heads
fused against not, and the ways to reach full resolution with their operations. One network at working scale, as many steps for
all, one seed: read differences under .02 as noise. Every line of OUT has the objective (exam defects) and the figures on 60
rendered defects and 40 good plates; the last line of what is printed is the rank correlation of the two over all runs.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from scipy.stats import spearmanr
from torch.utils.flop_counter import FlopCounterMode

from core.files import write_json
from data.batch import BatchFolder
from data.benchmark_set import read_set
from data.defects.blend import Pixels
from data.defects.recipe import TRAINING_FAMILIES, Recipe
from data.defects.regenerate import regenerate
from data.defects.scale import BatchScale, measure_scale
from data.sample.pictures import write_sample
from data.split import split_batch
from data.yaml_file import write_yaml
from models.detectors.catalogue import NETWORKS
from models.evaluation.assemble import assemble
from models.evaluation.exam import read_batch
from models.evaluation.measure import measure
from models.evaluation.objective import cache_maps, evaluate_fusion, tune_set
from models.inspection.preprocess import at_working_scale, working_scale
from models.training.budget import Plan
from models.training.crops import CropPlan
from models.training.curriculum import Schedule, difficulty_range
from models.training.fit import Spec, fit


def binary_label(before: Pixels, after: Pixels, scale: BatchScale, line: bool = False) -> Pixels:
    """One where a grey level changed at all, visible or not."""
    return np.asarray(np.abs(after - before).max(axis=2) > 1.0, np.float32)


def hard_first(schedule: Schedule, progress: float, competence: float = 0.0) -> tuple[float, float]:
    """Opens the range of difficulty from the hard end: the mirror image of ``linear``."""
    low, high = difficulty_range("linear", progress)
    return 1.0 - high, 1.0 - low


@contextmanager
def drawn_with(place: str | None, function: Any = None) -> Iterator[None]:
    """While training crops are drawn, ``function`` stands at ``place``; they are drawn in this process, which knows it."""
    if place is None:
        yield
        return
    with patch(place, function), patch("models.training.fit.data_workers", lambda device, plan: 0):
        yield


VARIANTS: dict[str, dict[str, Any]] = {
    "everything": {},
    **{f"without {f}": {"families": tuple(o for o in TRAINING_FAMILIES if o not in (f, "library"))}
       for f in TRAINING_FAMILIES if f != "library"},
    "binary labels": {"instead": ("data.defects.draw.label_of_change", binary_label)},
    "no curriculum": {"schedule": "none"},
    "competence-paced": {"schedule": "competence"},
    "reversed curriculum": {"instead": ("models.training.crops.difficulty_range", hard_first)},
    "no hard negatives": {"hard_negatives": False},
    "last stage: full resolution": {"settings": {"finish": "stage"}},
    "last stage: full resolution, the paper's order": {"settings": {"finish": "stage", "enlarge_first": True}},
    "the paper's order": {"settings": {"enlarge_first": True}},
    "width 16": {"settings": {"width": 16}},
    "U-Net of the same encoder": {
        "family": "unet", "settings": {"encoder": "tu-regnetx_002", "depth": 4, "widths": (64, 32, 16, 8)},
    },
}  # fmt: skip


def main(out: Path, steps: int) -> None:
    """Train and measure every variant; those that ``out`` holds already are not repeated."""
    done = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    family, settings = "unet3plus", NETWORKS["unet3plus"].settings
    with tempfile.TemporaryDirectory() as scratch:
        write_sample(Path(scratch) / "plate", good=160, defects=60, seed=11)
        product, folder = read_set(Path(scratch) / "plate"), BatchFolder(Path(scratch) / "batch")
        folder.good.mkdir(parents=True)
        for file, _ in product.train[:60]:
            (folder.good / file.name).symlink_to(file)
        split = split_batch({file.name: None for file, _ in product.train[:60]}, 1).as_json()
        write_json(folder.file("split.json"), split)
        write_yaml(folder.file("params.yaml"), {"seed": 1})
        regenerate(folder)
        batch = read_batch(folder, ("train", "tune", "calibrate"))
        scale = working_scale([exam.image for exam in batch.good["train"]], 700_000)
        images = [at_working_scale(exam.image, scale) for exam in batch.good["train"]]
        for name, variant in VARIANTS.items():
            if any(line["variant"] == name for line in done):
                continue
            started = time.monotonic()
            recipe = Recipe(families=variant.get("families", TRAINING_FAMILIES))
            own = variant.get("settings", {}) if "family" in variant else {**settings, **variant.get("settings", {})}
            spec = Spec(variant.get("family", family), own, variant.get("schedule", "linear"))
            spec = replace(spec, hard_negatives=variant.get("hard_negatives", True))
            crops = CropPlan(recipe, measure_scale(images), spec.side, 0, spec.schedule, 1)
            with drawn_with(*variant.get("instead", (None,))):
                detector, _ = fit(images, crops, spec, Plan(1e9, steps))
            target = Path(scratch) / "model.onnx"
            properties = {"product": "plate", "batch": "ablation", "detector": family}
            assembled = assemble(batch, [detector], {"reductions": [1], "scale": scale}, target, properties, 0.01)
            figures = measure(assembled.exported, product.test)
            chosen = {key: figures[key] for key in ("image_auroc", "pixel_ap", "aupro", "kinds")}
            examined = tune_set(batch.good["tune"], batch.defects["tune"], scale)
            judged = evaluate_fusion(cache_maps([detector], examined, [1]), assembled.fusion.poolings)
            line = {"variant": name, "steps": steps, "objective": assembled.fusion.value, **chosen, "judged": asdict(judged)}
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                detector(torch.zeros(1, 1, 128, 128))
            line["gmac"] = round(counter.get_total_flops() / 2e9, 3)
            line["seconds"] = round(time.monotonic() - started)
            done.append(line)
            torch.save(detector.state_dict(), out.with_name(f"{out.stem}-{len(done)}.pt"))  # for objectives to come
            with out.open("a") as stream:
                stream.write(json.dumps(line) + "\n")
            print(f"{name}: objective {line['objective']:.3f}, AUROC {line['image_auroc']:.3f}, pixel AP {line['pixel_ap']:.3f}")
    print(f"rank correlation: {spearmanr([d['objective'] for d in done], [d['image_auroc'] for d in done]).statistic:.2f}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) == 3 else 400)
