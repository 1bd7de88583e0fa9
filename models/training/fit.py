"""The one training loop for every family: seeded, budgeted, resumable."""

import copy
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from data.defects.foreground import foreground
from models.detectors.catalogue import build_detector
from models.detectors.detector import Detector
from models.detectors.template_detector import TemplateDetector
from models.trainable import Trainable, TrainingBatch
from models.training.budget import Costs, Plan, cores, ended, plan_anew, planned
from models.training.checkpoint import load_checkpoint, resumed_log, save_checkpoint
from models.training.crop_loader import CropLoader
from models.training.crops import Course, CropPlan, CropSeries, Image, Part
from models.training.curriculum import Schedule
from models.training.hard_negatives import Spot, find_spots, paces_between, searched
from models.training.memory_bank import fill_memory_bank
from models.training.number_format import Format, computing_in
from models.training.pacing import Mine, paced_batches
from models.training.templates import Pairs, pairs_of
from models.training.training_log import TrainingLog


@dataclass(frozen=True)
class Spec:
    """How to train, and which detector, if ``fit`` is not told what to make. ``learning_rate`` is the peak of the one-cycle
    cosine; ``decay`` AdamW's weight decay."""

    detector: str = "unet3plus"
    settings: dict[str, Any] = field(default_factory=dict)
    schedule: Schedule = "linear"
    learning_rate: float = 5e-3
    decay: float = 1e-4
    batch_size: int = 16
    side: int = 128
    flips: bool = True
    hard_negatives: bool = True

    @property
    def by_competence(self) -> bool:
        """Whether the network's dice sets the curriculum's pace."""
        return self.schedule == "competence"


Validate = Callable[[Any], float]
Begin = Callable[[Any], None]
Make = Callable[[int], Trainable]
"""A fresh network for a number of input channels."""
Report = Callable[[int, int, float, str], None]
CHECKPOINT_SECONDS = 10.0
WARM_UP = 0.05
TAUGHT_SHARE = 0.2
"""Of the learning rate, for weights that come from a teacher: they are good already, and the rest has to learn around them."""
PATIENCE = 3
WORTH_A_WORKER = 200  # steps


def pick_device() -> torch.device:
    """CUDA when there, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def make_deterministic(seed: int) -> None:
    """Seed every generator and ask for deterministic kernels (where CUDA has none, PyTorch warns and the rebuild tolerance
    applies)."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Nothing here reads what it did not write, and filling it takes a fourteenth of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False


def data_workers(device: torch.device, plan: Plan) -> int:
    """Processes that draw crops beside training: up to 12 beside a GPU, one on a CPU of several cores; none where training is
    over before a process is worth its start."""
    if cores() < 2 or (plan.steps if plan.steps is not None else 5 * plan.seconds) < WORTH_A_WORKER:
        return 0
    return min(cores() - 1, 12) if device.type == "cuda" else 1


def learning_rate_at(progress: float) -> float:
    """Share of the peak rate at ``progress`` in 0..1: linear warm-up over the first 5 %, then a half cosine to zero."""
    if progress < WARM_UP:
        return (progress + 1e-3) / (WARM_UP + 1e-3)
    return 0.5 * (1.0 + math.cos(math.pi * (progress - WARM_UP) / (1.0 - WARM_UP)))


class _Run:
    """One detector in training: network, averaged network, optimiser."""

    def __init__(
        self, spec: Spec, channels: int, seed: int, device: torch.device, form: Format, good: Tensor, make: Make, begin: Begin
    ) -> None:
        make_deterministic(seed)
        self.device, self.form, self.spec = device, form, spec
        self.network = make(channels).to(device)
        begin(self.network)
        self.network.to(memory_format=torch.channels_last)
        self.network.prepare(good.to(device))
        self.average: Any = copy.deepcopy(self.network).requires_grad_(False).eval()
        self.trainable = [p for p in self.network.parameters() if p.requires_grad]
        taught = {id(p) for p in self.network.taught_parameters()}
        groups = [
            {"params": [p for p in self.trainable if (id(p) in taught) == of_teacher], "share": share}
            for of_teacher, share in ((False, 1.0), (True, TAUGHT_SHARE))
        ]
        self.optimiser = torch.optim.AdamW(
            [group for group in groups if group["params"]], spec.learning_rate, weight_decay=spec.decay, fused=True
        )
        pairs = zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True)
        self.averaged = [(mean, now) for mean, now in pairs if mean.is_floating_point()]  # the rest are counters

    def step(self, batch: TrainingBatch, progress: float, number: int) -> float:
        self.network.train()
        for group in self.optimiser.param_groups:
            group["lr"] = group["share"] * self.spec.learning_rate * learning_rate_at(progress)
        with computing_in(self.form, self.device):
            loss = self.network.training_loss(batch.to(self.device), progress)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.trainable, 1.0, foreach=True)
        self.optimiser.step()
        self._update_average(min(0.99, (1.0 + number) / (10.0 + number)))
        return float(loss.detach())

    def state(self) -> dict[str, Any]:
        """What ``restore`` goes on from, beside the course of validation."""
        parts: dict[str, Any] = {"network": self.network, "average": self.average, "optimiser": self.optimiser}
        on_gpu = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None
        return {**{name: part.state_dict() for name, part in parts.items()}, "rng": torch.get_rng_state(), "rng_on_gpu": on_gpu}

    def restore(self, state: dict[str, Any]) -> tuple[Any, int]:
        """Go on from a checkpoint; the best validation so far and how many were no better since."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["rng"])
        if state.get("rng_on_gpu") is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["rng_on_gpu"], self.device)
        return state["best"], state["stale"]

    @torch.no_grad()
    def _update_average(self, keep: float) -> None:
        # PyTorch's AveragedModel gives the same bits, and takes twelve times as long: it collects and groups all tensors anew.
        torch._foreach_lerp_([mean for mean, _ in self.averaged], [now for _, now in self.averaged], 1.0 - keep)


def measure(run: Callable[[], _Run], crops: CropLoader, images: list[Image], validate: Validate | None) -> Costs:
    """What a training costs, on a throw-away copy: a step is the mean of three after two."""
    trial, total = run(), 5
    spec, start = trial.spec, 0.0
    for i, batch in enumerate(crops.batches(0, total, Course(total * spec.batch_size))):
        if i == 2:
            start = time.monotonic()
        trial.step(batch, 0.5, i)
    step = (time.monotonic() - start) / (total - 2)
    start = time.monotonic()
    if validate is not None:
        validate(trial.average)
    validated = time.monotonic()
    if spec.hard_negatives:
        find_spots(trial.average, images[:1], spec.side, np.random.default_rng(0))
        images_a_step = searched(1, spec.batch_size, spec.side) / (images[0].shape[0] * images[0].shape[1])
        step += images_a_step * (time.monotonic() - validated)
    return Costs(step, validated - start)


def fit(
    images: list[Image],
    crop_plan: CropPlan,
    spec: Spec,
    plan: Plan,
    validate: Validate | None = None,
    checkpoint: Path | None = None,
    key: str = "",
    report: Report | None = None,
    begin: Begin = lambda detector: None,
    make: Make | None = None,
    templates: Sequence[Image] = (),
) -> tuple[Any, TrainingLog]:
    """Train one network on good ``images`` (H, W, C); ``crop_plan.total`` is replaced by what the budget allows.

    ``validate`` scores the averaged network (larger is better) up to eight times, within a tenth of the budget; training
    stops early after three without gain and gives the best. ``checkpoint``: file to resume from and to write every ten
    seconds, ignored unless it carries the same ``key``. ``report``: called with (step, steps, loss, message). ``begin``: gives a
    fresh network the weights that it starts from (a teacher, a warm start), before it is prepared. ``make``: makes it; None
    makes the detector that ``spec`` names. ``templates``: for one that compares with them; without, it takes them out of the
    images, and where these do not match each other it makes one step and says nothing. The same inputs and steps give the same
    weights on the same kind of CPU.
    """
    device, channels = pick_device(), images[0].shape[2]
    workers = data_workers(device, plan)
    make = make or partial(build_detector, spec.detector, settings=spec.settings)
    network = make(channels)

    pairs, begin, plan = _paired(network, images, templates, begin, plan)
    series = partial(_series, images, [foreground(image) for image in images], crop_plan, spec, network, pairs)
    without = series(with_defects=False)
    good = torch.stack([without[i][0] for i in range(len(without))])

    if isinstance(network, Detector) and not network.trainable:
        torch.set_num_threads(plan.threads or torch.get_num_threads())
        make_deterministic(crop_plan.seed)
        begin(network)
        filled, log = fill_memory_bank(network.to(device), good, images, validate)
        return filled, _noted(log, pairs)

    fresh = partial(_Run, spec, channels, crop_plan.seed, device, good=good, make=make, begin=begin)

    with CropLoader(series(with_defects=not network.learns_from_good_only), spec.batch_size, workers) as crops:
        state = load_checkpoint(checkpoint, key)
        if state is None:
            log = planned(
                plan,
                lambda too, form: measure(lambda: fresh(form=form), crops, images, validate if too else None),
                device,
            )
        else:
            log = resumed_log(state)
        run = fresh(form=log.form)
        best, stale = (None, 0) if state is None else run.restore(state)
        begun, waited = time.monotonic() - log.seconds, 0.0
        last_saved = last_mark = time.monotonic()

        paced = paced_batches(crops, spec.batch_size, log, spec.by_competence, _miner(run, images), lambda: plan_anew(plan, log))
        for batch in paced:
            waited += time.monotonic() - last_mark
            validated = int(log.validations_planned * log.progress)
            loss = run.step(batch, log.progress, log.steps)
            log.note(loss, time.monotonic() - begun, run.network.training_dice if spec.by_competence else None)
            if report is not None:
                report(log.steps, log.total, log.smoothed, f"loss {log.smoothed:.3f}")
            if validate is not None and int(log.validations_planned * log.progress) > validated and log.steps < log.total:
                best, better = _validated(validate, run, log, best)
                stale = 0 if better else stale + (log.progress > 0.5)
                if stale >= PATIENCE:
                    log.ended_by = "early stop"
                    break
            if reason := ended(plan, log):
                log.ended_by = reason
                break
            if checkpoint is not None and time.monotonic() - last_saved > CHECKPOINT_SECONDS:
                save_checkpoint(checkpoint, key, log, {**run.state(), "best": best, "stale": stale})
                last_saved = time.monotonic()
            last_mark = time.monotonic()
    log.waiting_share = round(waited / max(log.seconds, 1e-9), 4)
    if validate is not None:
        best, _ = _validated(validate, run, log, best)
        run.average.load_state_dict(best[1])
    return run.average.cpu().eval(), _noted(log, pairs)


def _series(
    images: list[Image],
    parts: list[Part],
    plan: CropPlan,
    spec: Spec,
    network: Trainable,
    pairs: Pairs | None,
    with_defects: bool,
) -> CropSeries:
    with_clean, total = with_defects and network.learns_from_clean, max(64 // spec.batch_size, 1) * spec.batch_size
    drawn = replace(plan, total=total, with_defects=with_defects, with_clean=with_clean)
    return CropSeries(images, drawn, parts, pairs.partners if pairs and with_clean else None)


def _paired(
    network: Trainable, images: list[Image], templates: Sequence[Image], begin: Begin, plan: Plan
) -> tuple[Pairs | None, Begin, Plan]:
    """Of a detector that compares with a template: the pairs, and how it then begins and is planned."""
    if not isinstance(network, TemplateDetector):
        return None, begin, plan
    pairs = pairs_of(images, network.bank, network.sure, templates)
    return pairs, _holding(pairs, begin), replace(plan, steps=1) if pairs.bank.empty else plan


def _noted(log: TrainingLog, pairs: Pairs | None) -> TrainingLog:
    """``log`` with what the detector compares with."""
    if pairs is not None:
        log.templates, log.matched = pairs.templates, pairs.matched
    return log


def _holding(pairs: Pairs, begin: Begin) -> Begin:
    """``begin``, after which the detector holds the templates of ``pairs``: also where it began with another product's."""

    def begin_with_templates(detector: Any) -> None:
        begin(detector)
        detector.bank = copy.deepcopy(pairs.bank).to(detector.device)

    return begin_with_templates


def _miner(run: _Run, images: list[Image]) -> Mine | None:
    """Looks for hard negatives of the averaged network, if the specification wants them."""
    spec = run.spec
    if not spec.hard_negatives:
        return None

    def mine(step: int, pace: int) -> list[Spot] | None:
        pixels = searched(pace, spec.batch_size, spec.side)
        every = paces_between(pixels, images)
        if step // pace % every:
            return None
        return find_spots(run.average, images, spec.side, np.random.default_rng([step, 7]), every * pixels)

    return mine


Best = tuple[float, dict[str, Tensor]]


def _validated(validate: Validate, run: _Run, log: TrainingLog, best: Best | None) -> tuple[Best, bool]:
    """Score the averaged network; the better of it and ``best``, and whether it is the new one (a tie counts: later is
    smoother)."""
    value = validate(run.average)
    log.validations.append((log.steps, round(value, 5)))
    if best is None or value >= best[0]:
        return (value, copy.deepcopy(run.average.state_dict())), True
    return best, False
