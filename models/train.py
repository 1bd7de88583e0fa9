"""Stage ``train``: the best settings of the study with the full budget, several networks if the preset asks, and a companion."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.errors import BadBatch, BadSettings
from core.files import file_digest, replacing_folder, write_json
from data.batch import LIBRARY, BatchFolder
from data.defects.library import Cutout, batch_templates, read_library
from data.defects.recipe import Recipe
from data.defects.scale import measure_scale
from data.progress import Progress
from data.stage import read_params, read_settings, run_stage
from models.detectors.catalogue import NETWORKS, build_detector
from models.detectors.detector import Detector
from models.detectors.teaching import teach
from models.detectors.template_detector import TemplateDetector
from models.evaluation.exam import read_batch
from models.evaluation.objective import TuneSet, objective, tune_set
from models.inspection.preprocess import at_working_scale
from models.settings import ReplayedTraining
from models.teachers.teacher_file import TeacherCard, TeacherFile, read_teacher
from models.training.budget import Plan
from models.training.crops import CropPlan
from models.training.fit import Report, fit
from models.training.machine import environment, packages
from models.training.memories import memories
from models.training.trained import NetworkRecord
from models.training.training_log import steps_text, templates_text
from models.training.trial import default_of, recipe_of, spec_of
from models.training.view import View
from models.training.warm_start import WarmStart, read_warm_start


@dataclass(frozen=True)
class NetworkPlan:
    """A network to train: its parameters, the view that it sees, its number among those of its family and view, and its share of
    the training seconds."""

    params: dict[str, Any]
    view: View
    member: int
    share: float


def planned_networks(
    settings: ReplayedTraining, chosen: dict[str, Any], view: View, beside: Sequence[tuple[str, View]] = ()
) -> list[NetworkPlan]:
    """The network that tuning chose, in ``view``, then the companion: in the same view, or, where it is not trained step by
    step, the networks ``beside`` (``models.training.memories``) in their own views. BadSettings where the settings replay
    another number of networks."""
    companion, share = settings.companion, 0.0
    if companion is not None and _family(companion).kind == _family(chosen["detector"]).kind:
        companion = None
    if companion is not None and _family(companion).trainable:
        share = settings.companion_share
    planned = [NetworkPlan(chosen, view, member, (1.0 - share) / settings.networks) for member in range(settings.networks)]
    if companion is not None:
        for name, seen in [(companion, view)] if share or not beside else beside:
            params = default_of(name)
            # What was found of the product's surface holds for both.
            params |= {key: chosen[key] for key in ("mix",) if key in params and key in chosen}
            planned.append(NetworkPlan(params, seen, 0, share))
    if settings.replay is not None and len(settings.replay) != len(planned):
        raise BadSettings(
            f"params.yaml: train.replay has {len(settings.replay)} entries for {len(planned)} networks; give one for each"
        )
    return planned


@dataclass(frozen=True)
class TrainingInputs:
    """What the networks of a batch are made of. ``images``: the good ones at working scale. ``templates``: of the product,
    likewise, for what compares with them. ``best``: of the study."""

    folder: BatchFolder
    params: dict[str, Any]
    settings: ReplayedTraining
    best: dict[str, Any]
    images: list[NDArray[np.uint8]]
    tuning: TuneSet
    library: tuple[Cutout, ...]
    templates: list[NDArray[np.uint8]]
    teacher: TeacherFile | None
    warm: WarmStart | None

    @property
    def card(self) -> TeacherCard | None:
        """The teacher's."""
        return None if self.teacher is None else self.teacher.card

    @property
    def seed(self) -> int:
        """Of every random draw."""
        return int(self.params.get("seed", 0))

    @property
    def recipe(self) -> Recipe:
        """Of pseudo-defects, as the settings give it."""
        return read_settings(self.params, "recipe", Recipe)

    @property
    def channels(self) -> int:
        """1 or 3."""
        return int(self.images[0].shape[2])

    def key(self, number: int) -> str:
        """Stands for everything that network ``number`` is made from."""
        inputs = [self.card and self.card.digest, self.warm and self.warm.source.weights_digest]
        digest = hashlib.sha256(json.dumps([self.params, self.best, number, inputs], sort_keys=True, default=str).encode())
        for image in (*self.images, *self.templates):
            digest.update(image.tobytes())
        return digest.hexdigest()[:16]


def train(folder: BatchFolder) -> None:
    """Write ``model/weights.pt`` and ``model/training.json``; resumes from ``.work/train`` after a kill."""
    params = read_params(folder)
    settings = read_settings(params, "train", ReplayedTraining)
    try:
        best = json.loads((folder.file("study") / "best.json").read_text(encoding="utf-8"))
        chosen, scale, side = best["params"], float(best["scale"]), int(best["side"])
    except (OSError, ValueError, KeyError) as error:
        raise BadBatch("study/best.json is missing or damaged; delete the folder study and run again") from error
    batch = read_batch(folder, ("train", "tune"))
    images = [at_working_scale(exam.image, scale) for exam in batch.good["train"]]
    given = TrainingInputs(
        folder, params, settings, best, images, tune_set(batch.good["tune"], batch.defects["tune"], scale),
        read_library(folder.file(LIBRARY), batch.channels),
        [at_working_scale(image, scale) for image in batch_templates(folder, batch.channels)],
        read_teacher(folder.file("teacher")), read_warm_start(folder.file("warm")),
    )  # fmt: skip
    beside = memories(settings.companion, images, side, given.teacher) if settings.companion else ()
    planned = planned_networks(settings, chosen, View(1, side), beside)
    if given.teacher is None and any(_compares(network) for network in planned):
        print("no teacher beside the batch: what compares with one compares with random features")
    progress = Progress(folder.path, "train")
    detectors: list[Detector] = []
    logs: list[dict[str, Any]] = []
    for number, network in enumerate(planned):
        done = sum(before.share for before in planned[:number])
        which = f"network {number + 1} of {len(planned)}, " if len(planned) > 1 else ""

        def report(
            step: int, steps: int, loss: float, message: str, done: float = done, of: float = network.share, which: str = which
        ) -> None:
            progress.update(done + of * step / steps, 1.0, f"{which}step {step} of {steps}, {message}")

        detector, log = _network(given, network, number, logs[0]["threads"] if logs else None, report)
        detectors.append(detector)
        logs.append(log)
        steps = steps_text(log["steps"], log["steps_planned"], log["changes"])
        print(
            f"network {number + 1} ({network.params['detector']}, 1/{log['reduction']}): {steps} "
            f"in {log['seconds']:.0f} s, ended by {log['ended_by']}{_start_text(given.warm, log['warm'])}"
        )
        if issubclass(_family(network.params["detector"]), TemplateDetector):
            print(templates_text(log["templates"], log["matched"], len(images)))
    spec = spec_of(chosen, side, given.card)
    _write(folder, detectors, {
        "detector": spec.detector, "settings": spec.settings, "spec": asdict(spec),
        "recipe": recipe_of(chosen, given.recipe).model_dump(mode="json"),
        "scale": scale, "batch_scale": vars(measure_scale(images)),
        "reductions": [network.view.reduction for network in planned], "chosen": chosen, "networks": logs, "seed": given.seed,
        "teacher": given.card and given.card.model_dump(mode="json"),
        "warm_start": given.warm and given.warm.source.model_dump(mode="json", exclude_defaults=True),
        "library": len(given.library), "seconds": sum(log["seconds"] for log in logs),
        "environment": environment(), "packages": packages(),
    })  # fmt: skip


def _family(network: str) -> type[Detector]:
    return NETWORKS[network].detector


def _compares(network: NetworkPlan) -> bool:
    family = _family(network.params["detector"])
    return family.kind == "feature_distance" and family.teacher_kind is not None


def _start_text(warm: WarmStart | None, taken: bool) -> str:
    if warm is None:
        return ""
    return f", started from {warm.source.title}" if taken else f", from scratch: {warm.source.title} has no such network"


def _network(
    given: TrainingInputs, network: NetworkPlan, number: int, threads: int | None, report: Report
) -> tuple[Detector, dict[str, Any]]:
    """Network ``number`` and its log, trained, or as an interrupted run finished it; ``threads``: None measures."""
    settings, view = given.settings, network.view
    spec, key = spec_of(network.params, view.side, given.card), given.key(number)
    work = given.folder.work / "train"
    finished = work / f"network-{number}-{key}.pt"
    if finished.exists():
        return _read_network(finished, spec.detector, given.channels, spec.settings)
    record = NetworkRecord(spec.detector, spec.settings, view.reduction)
    state: dict[str, Tensor] | None = None
    if given.warm is not None:
        fresh = build_detector(spec.detector, given.channels, spec.settings)
        state = given.warm.state_for(record, network.member, fresh, given.card)

    def begin(detector: Detector) -> None:
        teach(detector, given.teacher)
        if state is not None:
            detector.load_state_dict(state)

    seen = [at_working_scale(image, 1.0, view.reduction) for image in given.images]
    crops = CropPlan(
        recipe_of(network.params, given.recipe), measure_scale(seen), spec.side, 0, spec.schedule,
        given.seed + 1000 * network.member, library=given.library,
    )  # fmt: skip
    seconds = settings.seconds * network.share
    plan = Plan(seconds, threads=threads)
    if settings.replay is not None:
        then = settings.replay[number]
        plan = Plan(seconds, then.steps_planned, then.validations_planned, then.threads, then.steps, then.changes, then.form)
    detector, training = fit(
        seen, crops, spec, plan, lambda made: objective([made], given.tuning, [view.reduction]).value,
        checkpoint=work / f"checkpoint-{number}.pt", key=key, report=report, begin=begin,
        templates=[at_working_scale(image, 1.0, view.reduction) for image in given.templates],
    )  # fmt: skip
    log = {**vars(record), "warm": state is not None, **asdict(training)}
    finished.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state": detector.state_dict(), "log": log}, finished.with_suffix(".part"))
    finished.with_suffix(".part").replace(finished)
    return detector, log


def _write(folder: BatchFolder, detectors: list[Detector], training: dict[str, Any]) -> None:
    """Put ``model/`` in its place, whole, and clear what training kept for a resumption."""
    # In one memory layout, whichever way a network came here: the digest stands for the weights.
    states = [{k: v.clone(memory_format=torch.contiguous_format) for k, v in d.state_dict().items()} for d in detectors]
    with replacing_folder(folder.file("model"), folder.work / "model") as out:
        with (out / "weights.pt").open("wb") as stream:  # given a path, torch writes bytes that depend on the path's letters
            torch.save(states, stream)
        write_json(out / "training.json", {**training, "weights_digest": file_digest(out / "weights.pt")})
        shutil.rmtree(folder.file("model"), ignore_errors=True)  # DVC's hash is of all that lies in there
    shutil.rmtree(folder.work / "train", ignore_errors=True)


def _read_network(source: Any, name: str, channels: int, settings: dict[str, Any]) -> tuple[Detector, dict[str, Any]]:
    saved = torch.load(source, map_location="cpu", weights_only=True)
    detector = build_detector(name, channels, settings)
    detector.load_state_dict(saved["state"])
    return detector.eval(), saved["log"]


if __name__ == "__main__":
    run_stage(train)
