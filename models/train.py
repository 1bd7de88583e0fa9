"""Stage ``train``: the best settings of the study with the full budget; several networks if the preset asks."""

import hashlib
import json
import shutil
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt

from data.batch import BatchFolder
from data.defects.library import read_library
from data.defects.regenerate import read_recipe
from data.defects.scale import measure_scale
from data.errors import BadBatch, BadModel, BadSettings
from data.files import file_digest, write_json
from data.progress import Progress
from data.stage import read_params, run_stage
from models.crops import CropPlan
from models.detector import Detector, build_detector
from models.exam import read_batch
from models.fit import Plan, fit
from models.machine import environment, packages
from models.objective import objective, tune_set
from models.preprocess import at_working_scale
from models.tune import read_settings, recipe_of, spec_of
from models.view import View, views_of


class Replay(BaseModel):
    """One network's training as ``training.json`` records it: its schedule is planned over ``steps_planned`` and left after
    ``steps``, so that it gives the same weights again."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    steps_planned: PositiveInt
    validations_planned: NonNegativeInt
    steps: PositiveInt
    threads: int = Field(ge=1, le=1024)


class TrainSettings(BaseModel):
    """Section ``train`` of ``params.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    seconds: float = Field(120.0, gt=0)
    """Budget for all networks together."""
    networks: int = Field(1, ge=1, le=16)
    """How many are trained, with seeds of their own, and fused."""
    replay: tuple[Replay, ...] | None = None
    """Recorded trainings, one a network (view by view), to go through again instead of a budget: what a rebuild does."""


def train(folder: BatchFolder) -> None:
    """Write ``model/weights.pt`` and ``model/training.json``; resumes from ``.work/train`` after a kill."""
    params = read_params(folder)
    settings: TrainSettings = read_settings(params, "train", TrainSettings)
    seed = int(params.get("seed", 0))
    try:
        best = json.loads((folder.file("study") / "best.json").read_text(encoding="utf-8"))
        chosen, scale, side = best["params"], float(best["scale"]), int(best["side"])
    except (OSError, ValueError, KeyError) as error:
        raise BadBatch("study/best.json is missing or damaged; delete the folder study and run again") from error
    batch = read_batch(folder, ("train", "tune"))
    images = [at_working_scale(exam.image, scale) for exam in batch.good["train"]]
    examined = tune_set(batch.good["tune"], batch.defects["tune"], scale)
    recipe = recipe_of(chosen, read_recipe(params))
    views, library = views_of(images, side), read_library(folder.file("library"), batch.channels)
    planned = [(view, number) for view in views for number in range(settings.networks)]
    if settings.replay is not None and len(settings.replay) != len(planned):
        raise BadSettings(
            f"params.yaml: train.replay has {len(settings.replay)} entries for {len(planned)} networks; give one for each"
        )
    progress = Progress(folder.path, "train")
    detectors: list[Detector] = []
    logs: list[dict[str, Any]] = []
    for number, (view, member) in enumerate(planned):
        key = _key(params, best, images, number)
        spec = spec_of(chosen, view.side)
        finished = folder.work / "train" / f"network-{number}-{key}.pt"

        def report(step: int, steps: int, loss: float, message: str, number: int = number) -> None:
            which = f"network {number + 1} of {len(planned)}, " if len(planned) > 1 else ""
            done = sum(view.share for view, _ in planned[:number]) + planned[number][0].share * step / steps
            progress.update(done, settings.networks, f"{which}step {step} of {steps}, {message}")

        if finished.exists():
            detector, log = _read_network(finished, spec.detector, batch.channels, spec.settings)
        else:
            seen = [at_working_scale(image, 1.0, view.reduction) for image in images]
            # A cut-out is as large as it was on the part: at a glance it would be a speck.
            cutouts = library if view.reduction == 1 else ()
            crops = CropPlan(recipe, measure_scale(seen), spec.side, 0, spec.schedule, seed + 1000 * member, library=cutouts)
            plan = _plan(settings, view, number, logs)

            def value(detector: Detector, view: View = view) -> float:
                return objective([detector], examined, [view.reduction]).value

            detector, training = fit(
                seen, crops, spec, plan, value,
                checkpoint=folder.work / "train" / f"checkpoint-{number}.pt", key=key, report=report,
            )  # fmt: skip
            log = asdict(training)
            finished.parent.mkdir(parents=True, exist_ok=True)
            torch.save({"state": detector.state_dict(), "log": log}, finished.with_suffix(".part"))
            finished.with_suffix(".part").replace(finished)
        detectors.append(detector)
        logs.append(log)
        print(
            f"network {number + 1} (1/{view.reduction}): {log['steps']} of {log['steps_planned']} steps "
            f"in {log['seconds']:.0f} s, "
            f"ended by {log['ended_by']}"
        )
    _write(folder, detectors, {
        "detector": spec.detector, "settings": spec.settings, "spec": asdict(spec_of(chosen, side)),
        "recipe": recipe.model_dump(mode="json"),
        "scale": scale, "batch_scale": vars(measure_scale(images)), "views": [vars(view) for view in views],
        "reductions": [view.reduction for view, _ in planned], "chosen": chosen, "networks": logs, "seed": seed,
        "library": len(library), "seconds": sum(log["seconds"] for log in logs),
        "environment": environment(), "packages": packages(),
    })  # fmt: skip


def _plan(settings: TrainSettings, view: View, number: int, logs: list[dict[str, Any]]) -> Plan:
    seconds = settings.seconds * view.share / settings.networks
    if settings.replay is None:
        return Plan(seconds, threads=logs[0]["threads"] if logs else None)  # measured once
    told = settings.replay[number]
    return Plan(seconds, told.steps_planned, told.validations_planned, told.threads, told.steps)


def _write(folder: BatchFolder, detectors: list[Detector], training: dict[str, Any]) -> None:
    """Put ``model/`` in its place, whole, and clear what training kept for a resumption."""
    out = folder.work / "model"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    # In one memory layout, whichever way a network came here: the digest stands for the weights.
    states = [{k: v.clone(memory_format=torch.contiguous_format) for k, v in d.state_dict().items()} for d in detectors]
    torch.save(states, out / "weights.pt")
    write_json(out / "training.json", {**training, "weights_digest": file_digest(out / "weights.pt")})
    target = folder.file("model")
    shutil.rmtree(target, ignore_errors=True)
    out.rename(target)
    shutil.rmtree(folder.work / "train", ignore_errors=True)


def read_trained(folder: BatchFolder, channels: int) -> tuple[list[Detector], dict[str, Any]]:
    """The detectors of ``model/`` in evaluation mode, and ``training.json``; BadModel if the files do not fit each other."""
    source = folder.file("model")
    try:
        training = json.loads((source / "training.json").read_text(encoding="utf-8"))
        states = torch.load(source / "weights.pt", map_location="cpu", weights_only=True)
        detectors = []
        for state in states:
            detector = build_detector(training["detector"], channels, training["settings"])
            detector.load_state_dict(state)
            detectors.append(detector.eval())
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise BadModel(
            f"model/ in {source.parent} is missing or damaged ({type(error).__name__}); delete it and run again"
        ) from error
    return detectors, training


def _read_network(source: Any, name: str, channels: int, settings: dict[str, Any]) -> tuple[Detector, dict[str, Any]]:
    saved = torch.load(source, map_location="cpu", weights_only=True)
    detector = build_detector(name, channels, settings)
    detector.load_state_dict(saved["state"])
    return detector.eval(), saved["log"]


def _key(params: dict[str, Any], best: dict[str, Any], images: list[np.ndarray], number: int) -> str:
    digest = hashlib.sha256(json.dumps([params, best, number], sort_keys=True, default=str).encode())
    for image in images:
        digest.update(image.tobytes())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    run_stage(train)
