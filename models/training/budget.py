"""The budget of a training: how many steps fit into its seconds, and how many when the machine turns out slower or faster."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from models.training.number_format import Format, fastest_on
from models.training.training_log import Change, TrainingLog

VALIDATION_SHARE = 0.1  # of the budget
SLACK = 0.97
WORTH_COMPARING = 60.0
"""Seconds of a budget from which the network's own steps are measured in both number formats, where a plain convolution is
faster in bfloat16: depthwise ones need not be."""
TOLERANCE = 0.1
"""Of the steps left: a difference that is not worth planning anew."""
MARKS = 4
"""Paces that speed is measured over: some hold a validation, most hold none."""


@dataclass(frozen=True)
class Plan:
    """How long to train: over exactly ``steps`` with ``validations`` if given (a rebuild), else as many as fit into ``seconds``.

    ``stop``: the step to end at all the same, where a recorded training was out of time before it had made all its steps.
    ``changes``: where a recorded training was planned anew.

    ``form``: the number format; None takes the faster one.

    ``threads``: of this process; None takes the faster of one and as many as there are cores (one wins where other programs
    hold the cores: every operation of several threads waits for the slowest of them).
    """

    seconds: float
    steps: int | None = None
    validations: int = 8
    threads: int | None = None
    stop: int | None = None
    changes: tuple[Change, ...] = ()
    form: Format | None = None


@dataclass(frozen=True)
class Costs:
    """Seconds that a step takes, drawing and the search for hard negatives included, and a validation."""

    step: float
    validation: float = 0.0


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_threads(seconds: Callable[[], float]) -> None:
    """Set the faster of one thread and all cores, by ``seconds`` a step takes."""
    tried = {}
    for threads in sorted({1, cores()}):
        torch.set_num_threads(threads)
        tried[threads] = seconds()
    torch.set_num_threads(min(tried, key=lambda threads: tried[threads]))


def planned(plan: Plan, measured: Callable[[bool, Format], Costs], device: torch.device) -> TrainingLog:
    """The log of a training that begins: how many steps and validations fit into the plan's seconds, measuring included.
    ``measured``: called with whether to measure a validation too, and the number format."""
    if plan.threads is not None:
        torch.set_num_threads(plan.threads)
    started = time.monotonic()
    form = plan.form or fastest_on(device)
    if plan.steps is not None:
        return TrainingLog(plan.steps, plan.validations, device=str(device), threads=torch.get_num_threads(), form=form)
    if plan.threads is None and device.type == "cpu":
        choose_threads(lambda: measured(False, form).step)
    if plan.form is None and form == "bfloat16" and device.type == "cpu" and plan.seconds >= WORTH_COMPARING:
        forms: tuple[Format, ...] = ("bfloat16", "float32")
        steps_in = {one: measured(False, one).step for one in forms}
        form = min(forms, key=lambda one: steps_in[one])
    costs = measured(True, form)
    left = plan.seconds - (time.monotonic() - started)
    validations = min(plan.validations, int(VALIDATION_SHARE * max(left, 0.0) / max(costs.validation, 1e-3)))
    steps = int(SLACK * (left - (validations + 1) * costs.validation) / costs.step)
    return TrainingLog(
        max(steps, 10), validations, seconds=time.monotonic() - started, device=str(device), threads=torch.get_num_threads(),
        reserve=costs.validation, form=form,
    )  # fmt: skip


def plan_anew(plan: Plan, log: TrainingLog) -> None:
    """Called between two paces: if the last paces were much slower or faster than planned, note in ``log`` how many steps fit
    from here on. Learning rate and curriculum then still reach their ends, which a training that is cut off when its time is
    over does not. A recorded training is planned anew where it was then."""
    if plan.steps is not None:
        log.changes += [change for change in plan.changes if change[0] == log.steps]
        return
    log.marks = [*log.marks, (log.steps, log.seconds)][-MARKS:]
    (step, seconds), left = log.marks[0], log.total - log.steps
    if step == log.steps:
        return
    speed = (log.steps - step) / max(log.seconds - seconds, 1e-9)
    possible = max(int(SLACK * speed * (plan.seconds - log.seconds - log.reserve)), 1)
    if abs(possible - left) > TOLERANCE * left:
        log.changes.append((log.steps, round(log.progress, 6), log.steps + possible))


def ended(plan: Plan, log: TrainingLog) -> str:
    """Why training ends before its planned steps are made; "" while it goes on."""
    if plan.stop is not None:
        return "stop" if plan.stop <= log.steps < log.total else ""
    return "time" if plan.steps is None and log.seconds > plan.seconds else ""
