"""The training loop: resume after a kill, budgets, early stop."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data.defects.recipe import Recipe
from data.defects.scale import measure_scale
from models.training import fit as fit_module
from models.training.budget import Plan
from models.training.crops import CropPlan
from models.training.fit import Spec, fit
from models.training.training_log import TrainingLog
from tests.models.detector_tests import good_image

SPEC = Spec("unet3plus", {"encoder": "tu-resnet10t", "depth": 3, "width": 4}, "linear", batch_size=4, side=64)


def plan(images: list) -> CropPlan:  # type: ignore[type-arg]
    return CropPlan(Recipe(), measure_scale(images), 64, 0, "linear", 3)


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the loop may catch it."""


def test_a_killed_run_resumes_and_ends_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_module, "CHECKPOINT_SECONDS", 0.0)
    images = [good_image(i) for i in range(4)]
    whole, _ = fit(images, plan(images), SPEC, Plan(1e9, 12))

    def kill(step: int, steps: int, loss: float, message: str) -> None:
        if step == 7:
            raise Killed

    checkpoint = tmp_path / "checkpoint.pt"
    with pytest.raises(Killed):
        fit(images, plan(images), SPEC, Plan(1e9, 12), checkpoint=checkpoint, key="k", report=kill)
    resumed, log = fit(images, plan(images), SPEC, Plan(1e9, 12), checkpoint=checkpoint, key="k")
    assert log.resumed_at == 6 and log.steps == 12
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_competence_paced_run_resumes_where_it_stood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_module, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr("models.training.pacing.PACES", 4)
    monkeypatch.setattr("models.training.hard_negatives.SHARE", 10.0)  # so that they are looked for in every pace
    monkeypatch.setattr("models.training.curriculum.ADVANCE_FROM", 0.0)  # so that it advances
    images, spec = [good_image(i) for i in range(4)], replace(SPEC, schedule="competence")
    crops = replace(plan(images), schedule="competence")
    whole, log = fit(images, crops, spec, Plan(1e9, 12))
    assert log.competences == [(3, 0.1), (6, 0.2), (9, 0.3)] and len(log.spots) == 2

    def kill(step: int, steps: int, loss: float, message: str) -> None:
        if step == 8:
            raise Killed

    with pytest.raises(Killed):
        fit(images, crops, spec, Plan(1e9, 12), checkpoint=tmp_path / "c.pt", key="k", report=kill)
    resumed, again = fit(images, crops, spec, Plan(1e9, 12), checkpoint=tmp_path / "c.pt", key="k")
    assert again.resumed_at == 7 and [list(c) for c in again.competences] == [list(c) for c in log.competences]
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_checkpoint_of_other_settings_or_a_damaged_one_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_module, "CHECKPOINT_SECONDS", 0.0)
    images = [good_image(i) for i in range(4)]
    checkpoint = tmp_path / "checkpoint.pt"
    fit(images, plan(images), SPEC, Plan(1e9, 3), checkpoint=checkpoint, key="one")
    _, log = fit(images, plan(images), SPEC, Plan(1e9, 3), checkpoint=checkpoint, key="two")
    assert log.resumed_at is None
    checkpoint.write_bytes(b"half a file")
    _, log = fit(images, plan(images), SPEC, Plan(1e9, 3), checkpoint=checkpoint, key="two")
    assert log.resumed_at is None and log.steps == 3


def test_a_budget_ends_training_in_time_and_still_gives_a_detector() -> None:
    images = [good_image(i) for i in range(4)]
    detector, log = fit(images, plan(images), SPEC, Plan(3.0))
    assert log.steps == log.total or (log.ended_by == "time" and 1 <= log.steps < log.total)
    assert detector(torch.randn(1, 1, 64, 64)).shape == (1, 1, 64, 64)


def test_early_stop_gives_the_best_not_the_last() -> None:
    images = [good_image(i) for i in range(4)]
    values = iter([0.1, 0.2, 0.9, 0.3, 0.2, 0.1, 0.1, 0.1, 0.1])
    snapshots: dict[float, torch.Tensor] = {}

    def validate(detector: torch.nn.Module) -> float:
        value = next(values)
        snapshots[value] = next(iter(detector.state_dict().values())).clone()
        return value

    detector, log = fit(images, plan(images), SPEC, Plan(1e9, 32), validate=validate)
    assert log.ended_by == "early stop" and log.steps < 32
    assert torch.equal(next(iter(detector.state_dict().values())), snapshots[0.9])


def weight(detector: torch.nn.Module) -> float:
    """A validation that is quick and differs from step to step."""
    return float(sum(p.abs().sum() for p in detector.parameters()))


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_recorded_training_gives_the_same_weights_again(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that stalled and ran out of time half-way: its schedule is that of all steps planned, and its best network is the kept
    one."""
    images, before = [good_image(i) for i in range(4)], torch.get_num_threads()
    monkeypatch.setattr(fit_module, "planned", lambda *_: TrainingLog(24, 3, threads=threads))
    monkeypatch.setattr(fit_module, "plan_anew", lambda *_: None)
    clock = iter(range(1000))
    monkeypatch.setattr(fit_module.time, "monotonic", lambda: float(next(clock)))
    torch.set_num_threads(threads)
    try:
        first, log = fit(images, plan(images), SPEC, Plan(34.0, validations=3), weight)
        assert log.ended_by == "time" and 8 <= log.steps < 24
        monkeypatch.undo()
        again, told = fit(images, plan(images), SPEC, Plan(1e9, 24, 3, threads, log.steps, form=log.form), weight)
    finally:
        torch.set_num_threads(before)
    assert (told.steps, told.ended_by, told.validations) == (log.steps, "stop", log.validations)
    assert same_weights(first, again)


def test_a_machine_that_slows_down_gets_fewer_steps_and_the_whole_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    """From step 10 on every step takes five times as long: training still comes to its end, in time, and repeats exactly."""
    images, now, rates = [good_image(i) for i in range(4)], [0.0], []
    monkeypatch.setattr(fit_module, "planned", lambda *_: TrainingLog(40, 2))
    monkeypatch.setattr(fit_module.time, "monotonic", lambda: now[0])
    rate_of = fit_module.learning_rate_at

    def noted(progress: float) -> float:
        now[0] += 1.0 if len(rates) < 10 else 5.0
        rates.append(rate_of(progress))
        return rates[-1]

    monkeypatch.setattr(fit_module, "learning_rate_at", noted)
    first, log = fit(images, plan(images), SPEC, Plan(80.0, validations=2), weight)
    assert log.ended_by == "steps" and log.steps == log.total < 30 and log.seconds <= 80.0
    assert rates[-1] < 0.05 and log.changes, "the learning rate comes down whatever happens"
    assert len(log.validations) == 2
    monkeypatch.undo()
    replay = Plan(1e9, 40, 2, stop=log.steps, changes=tuple(log.changes), threads=torch.get_num_threads(), form=log.form)
    again, told = fit(images, plan(images), SPEC, replay, weight)
    assert (told.steps, told.changes, told.validations) == (log.steps, log.changes, log.validations)
    assert same_weights(first, again)
