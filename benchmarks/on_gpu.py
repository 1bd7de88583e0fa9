"""One script for a GPU machine that has torch and no platform: checks, times and reports training there.

    PYTHONPATH=$PWD python benchmarks/on_gpu.py DATA OUT PRODUCT… [--budget SECONDS] [--steps N]

For each product: the stages of a changeover and the figures on its real test images, looked at once (``flows.bench``). For the
first, before that: whether N steps give the same weights twice, and how long they take; 0 leaves that out. Prints JSON lines;
needs neither mlflow, prefect nor dvc.
"""

import argparse
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import torch
from teachers import prepared, spec_of

from data.benchmark_set import read_set
from data.defects.recipe import Recipe
from data.defects.scale import measure_scale
from flows.bench import bench
from flows.presets import RunRequest
from models.inspection.preprocess import at_working_scale
from models.training.budget import Plan
from models.training.crops import CropPlan
from models.training.fit import fit
from models.training.machine import environment

FAMILIES = ("unet3plus", "denoising_student", "stpm")


def trained(images: list[Any], family: str, steps: int) -> tuple[str, float]:
    """sha256 of the weights after ``steps`` steps, and seconds."""
    spec = spec_of(family, None)
    crops = CropPlan(Recipe(), measure_scale(images), spec.side, 0, spec.schedule, 1)
    started = time.monotonic()
    detector, log = fit(images, crops, spec, Plan(600.0, steps, 0, threads=1))
    seconds = time.monotonic() - started
    digest = hashlib.sha256()
    for name, value in sorted(detector.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    if log.steps != steps:
        raise SystemExit(f"{family}: {log.steps} steps were made, not {steps}")
    return digest.hexdigest(), seconds


def twice(folder: Path, work: Path, steps: int) -> None:
    """Prints for each family whether training gives the same weights twice, and its seconds."""
    _, batch, scale = prepared(folder, work)
    images = [at_working_scale(exam.image, scale) for exam in batch.good["train"]]
    for family in FAMILIES:
        (one, first), (other, second) = trained(images, family, steps), trained(images, family, steps)
        print(json.dumps({"family": family, "steps": steps, "same": one == other, "seconds": [first, second]}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("products", nargs="+")
    parser.add_argument("--budget", type=float, default=60.0)
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print(json.dumps({"machine": environment(), "cuda": torch.cuda.is_available()}), flush=True)
    if options.steps:
        twice(options.data / options.products[0], options.out / "twice", options.steps)
    for name in options.products:
        order = RunRequest("quick", budget=options.budget)
        result = bench(read_set(options.data / name), order, options.out / name, lambda text, share: None)
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
