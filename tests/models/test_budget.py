"""A budget of seconds becomes steps, and becomes others when the machine turns out slower or faster."""

import pytest
import torch

from models.training.budget import Costs, Plan, choose_threads, ended, plan_anew, planned
from models.training.crops import CropPlan
from models.training.training_log import TrainingLog, progress_at, steps_text

CPU = torch.device("cpu")


def test_the_faster_number_of_threads_is_taken() -> None:
    before = torch.get_num_threads()
    try:
        for faster in {1, before}:
            choose_threads(lambda faster=faster: 1.0 if torch.get_num_threads() == faster else 2.0)
            assert torch.get_num_threads() == faster
    finally:
        torch.set_num_threads(before)


def test_steps_leave_time_for_validating() -> None:
    log = planned(Plan(1000.0, threads=1), lambda *_: Costs(step=0.1, validation=2.0), CPU)
    assert log.validations_planned == 8 and log.reserve == 2.0
    assert 960 < log.total * 0.1 + 9 * 2.0 <= 1000
    assert planned(Plan(0.1, threads=1), lambda *_: Costs(step=0.1), CPU).total == 10


def test_a_network_that_is_slower_in_bfloat16_than_a_plain_convolution_computes_in_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("models.training.budget.fastest_on", lambda device: "bfloat16")
    asked: list[tuple[bool, str]] = []

    def measured(whole: bool, form: str) -> Costs:
        asked.append((whole, form))
        return Costs(step=slow[form], validation=1.0)

    for slow, chosen in (({"bfloat16": 0.49, "float32": 0.42}, "float32"), ({"bfloat16": 0.16, "float32": 0.25}, "bfloat16")):
        log = planned(Plan(240.0, threads=1), measured, CPU)
        assert log.form == chosen and asked[-1] == (True, chosen)
        assert log.total == pytest.approx(0.97 * (240.0 - 9.0) / slow[chosen], rel=0.01)
    asked.clear()
    assert planned(Plan(20.0, threads=1), measured, CPU).form == "bfloat16"  # too short to be worth it
    assert planned(Plan(240.0, threads=1, form="bfloat16"), measured, CPU).form == "bfloat16"  # a replay
    monkeypatch.setattr(
        "models.training.budget.fastest_on", lambda device: "float32"
    )  # where bfloat16 would take twenty times as long
    assert planned(Plan(240.0, threads=1), measured, CPU).form == "float32"
    assert len(asked) == 3


def running(steps: int, seconds: float, **told: object) -> TrainingLog:
    return TrainingLog(100, steps=steps, seconds=seconds, **told)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("marks", "steps", "seconds", "total"),
    [
        ([(10, 10.0)], 20, 20.0, None),  # as planned
        ([(10, 10.0)], 20, 20.5, None),  # nearly
        ([(10, 10.0)], 20, 30.0, 20 + int(0.97 * 70 / 2)),  # half as fast
        ([(10, 10.0)], 20, 15.0, 20 + int(0.97 * 85 * 2)),  # twice as fast
        ([], 10, 30.0, None),  # the first pace is no measure
        ([(85, 85.0)], 90, 96.0, 91),  # in the last tenth too
        ([(10, 10.0)], 20, 120.0, 21),  # out of time
    ],
)
def test_steps_are_planned_anew_where_it_matters(
    marks: list[tuple[int, float]], steps: int, seconds: float, total: int | None
) -> None:
    log = running(steps, seconds, marks=marks)
    before = log.progress
    plan_anew(Plan(100.0), log)
    assert log.total == (total or 100) and len(log.changes) == (total is not None)
    assert log.progress == pytest.approx(before)
    log.steps = log.total
    assert log.progress == 1.0


def test_a_replay_is_planned_anew_where_the_record_was() -> None:
    plan = Plan(100.0, 100, changes=((20, 0.2, 50), (35, 0.6, 40)))
    log = running(20, 1e9)
    for step in range(20, 41, 5):
        log.steps = step
        plan_anew(plan, log)
    assert log.changes == list(plan.changes) and log.progress == 1.0


def test_progress_runs_evenly_from_plan_to_plan() -> None:
    changes = [(20, 0.2, 60), (40, 0.6, 50)]
    assert [progress_at(step, 100, changes) for step in (0, 10, 20, 30, 40, 45, 50)] == pytest.approx(
        [0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0]
    )


def test_crops_open_up_as_training_goes_on() -> None:
    crops = CropPlan(None, None, 64, 50 * 4, "linear", 0, begun=40 * 4, done=0.6)  # type: ignore[arg-type]
    log = TrainingLog(100, steps=45, changes=[(40, 0.6, 50)])
    assert crops.progress(45 * 4) == pytest.approx(log.progress)
    assert CropPlan(None, None, 64, 200, "linear", 0).progress(50) == 0.25  # type: ignore[arg-type]


def test_what_ended_a_training_is_said() -> None:
    log = running(50, 101.0)
    assert ended(Plan(100.0), log) == "time" and ended(Plan(102.0), log) == ""
    assert ended(Plan(100.0), running(95, 101.0)) == "time", "no overtime for the last steps"
    assert ended(Plan(1.0, 100), log) == "" and ended(Plan(1.0, 100, stop=50), log) == "stop"
    assert ended(Plan(1.0, 50, stop=50), running(100, 1.0)) == ""


def test_people_are_told_of_plans_that_changed() -> None:
    assert steps_text(9, 9, ()) == "9 of 9 steps"
    assert steps_text(9, 20, [(5, 0.3, 9)]) == "9 of 9 steps (20 planned at first)"
