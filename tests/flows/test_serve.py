"""The schedule: a cron line really has scheduled runs, and an event really starts one."""

import getpass
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.errors import PlantError
from flows.plant import Plant
from flows.request import _post, request
from flows.requester import Requester, requested_by
from flows.serving.prefect_password import log_in
from flows.serving.servers import address
from flows.serving.services import connect_as, connect_as_person
from flows.steps.batch_name import scheduled_batch
from flows.upkeep import doctor
from flows.upkeep.status import read_status
from registry.client.record import recorded
from registry.client.sign_off import sign_off
from registry.client.users import add_user, change_password
from registry.client.versions import champion, register
from tests.registry.conftest import request_for

pytestmark = [pytest.mark.servers, pytest.mark.slow]


def ask(plant: Plant, path: str, body: dict[str, Any]) -> Any:
    """What the Prefect server answers."""
    return _post(f"{address(plant, 'prefect')}/api/{path}", body, log_in(plant)).raise_for_status().json()


def eventually(question: Callable[[], Any], seconds: float = 60.0) -> Any:
    """The first answer that is not empty."""
    deadline = time.monotonic() + seconds
    while not (answer := question()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"no answer in {seconds:g} seconds")
        time.sleep(0.5)
    return answer


def runs_of(plant: Plant, deployment: str, states: list[str]) -> list[dict[str, Any]]:
    body = {
        "deployments": {"name": {"any_": [deployment]}},
        "flow_runs": {"state": {"type": {"any_": states}}},
        "sort": "EXPECTED_START_TIME_ASC",
    }
    found: list[dict[str, Any]] = ask(plant, "flow_runs/filter", body)
    return found


@pytest.fixture(scope="module")
def serving(running: Plant, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """A 'changeover serve' of the plant, started somewhere else."""
    log = tmp_path_factory.mktemp("serve") / "log"
    with log.open("wb") as stream:
        child = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "serve", "--plant", str(running.path)],
            cwd=log.parent,
            stdout=stream,
            stderr=stream,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )
    try:
        eventually(lambda: b"stop with Ctrl-C" in log.read_bytes() or child.poll() is not None)
        assert child.poll() is None, log.read_text()
        yield running
    finally:
        child.terminate()
        child.wait(30)


def test_a_cron_line_has_scheduled_runs(serving: Plant) -> None:
    runs = eventually(lambda: runs_of(serving, "nightly", ["SCHEDULED"]))
    assert runs[0]["parameters"] == {"plant": str(serving.path), "product": "nightly"}
    start = time.localtime(_seconds(runs[0]["expected_start_time"]))
    assert (start.tm_wday, start.tm_hour, start.tm_min) == (0, 6, 0)


def test_the_plants_teacher_is_trained_on_sundays(serving: Plant) -> None:
    runs = eventually(lambda: runs_of(serving, "scheduled", ["SCHEDULED"]))
    assert runs[0]["parameters"] == {"plant": str(serving.path)}
    start = time.localtime(_seconds(runs[0]["expected_start_time"]))
    assert (start.tm_wday, start.tm_hour, start.tm_min) == (6, 2, 0)


def test_promotion_is_scheduled_every_minute_and_runs(serving: Plant) -> None:
    run = eventually(lambda: runs_of(serving, "every-minute", ["SCHEDULED"]))[0]
    assert _seconds(run["expected_start_time"]) < time.time() + 60
    # Not waited for: the same deployment is asked for a run at once.
    ask(serving, f"deployments/{run['deployment_id']}/create_flow_run", {"state": {"type": "SCHEDULED"}})
    assert eventually(lambda: runs_of(serving, "every-minute", ["COMPLETED", "FAILED"]))[0]["state_type"] == "COMPLETED"


def test_status_and_doctor_say_that_it_lives_and_since_when(serving: Plant) -> None:
    state = read_status(serving).serve
    assert state and state.lives and state.since
    assert 0 <= time.time() - _seconds(state.since) < 600
    shown = subprocess.run(
        [sys.executable, "-m", "flows.cli", "status", "--plant", str(serving.path)], capture_output=True, text=True, check=True
    ).stdout
    assert f"serve: running since {state.since}" in shown
    assert log_in(serving)[1] not in shown
    found = {finding.what: finding for finding in doctor.examine(serving.path)}
    assert (found["serve"].state, found["serve"].found) == ("ok", f"running since {state.since}")
    assert found["prefect password"].state == "ok"


def test_a_run_for_another_plant_does_nothing(serving: Plant, tmp_path: Path) -> None:
    look = eventually(lambda: runs_of(serving, "every-minute", ["SCHEDULED"]))[0]
    body = {"state": {"type": "SCHEDULED"}, "parameters": {"plant": str(tmp_path)}}
    run = ask(serving, f"deployments/{look['deployment_id']}/create_flow_run", body)["id"]
    failed = eventually(lambda: [one for one in runs_of(serving, "every-minute", ["FAILED"]) if one["id"] == run])[0]
    assert "but this process works for" in failed["state"]["message"]
    assert not list(tmp_path.iterdir())


def test_an_event_starts_a_changeover(serving: Plant, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    request(serving, "bolt", "b1", tmp_path / "images", Requester(requested_by()))
    run = eventually(lambda: runs_of(serving, "on-event", ["FAILED", "COMPLETED", "CRASHED"]), 90)[0]
    assert run["name"] == "bolt b1"
    assert run["parameters"]["images"] == str(tmp_path / "images")
    assert run["parameters"]["requested_by"] == requested_by() == f"os:{getpass.getuser()}"
    # It ran as far as it can without images, and says why.
    assert "0 usable images" in run["state"]["message"]


def test_a_signature_takes_effect_without_waiting_for_the_next_look(serving: Plant, tmp_path: Path) -> None:
    add_user(connect_as(serving, "admin"), "nora", "first horse battery", "qa")
    change_password(connect_as_person(serving, "nora", "first horse battery"), "correct horse battery")
    trainer = connect_as(serving, "trainer")
    version = register(trainer, request_for(tmp_path, "nightly", "b1"))
    # A look just now: the next one is a minute away.
    look = eventually(lambda: runs_of(serving, "every-minute", ["SCHEDULED"]))[0]
    before = len(runs_of(serving, "every-minute", ["COMPLETED"]))
    ask(serving, f"deployments/{look['deployment_id']}/create_flow_run", {"state": {"type": "SCHEDULED"}})
    eventually(lambda: len(runs_of(serving, "every-minute", ["COMPLETED"])) > before)
    sign_off(connect_as_person(serving, "nora", "correct horse battery"), "nightly", version.version, "approved", "fine")
    signed = time.monotonic()
    assert eventually(lambda: champion(trainer, "nightly"), 20).version == version.version
    print(f"champion {time.monotonic() - signed:.1f} s after the signature")
    assert eventually((serving.publish / "nightly" / "current.json").exists, 20)

    # And a withdrawal: the line loses the model.
    sign_off(connect_as_person(serving, "nora", "correct horse battery"), "nightly", version.version, "pending", "a complaint")
    assert champion(trainer, "nightly") is None
    assert eventually(lambda: not (serving.publish / "nightly" / "current.json").exists(), 20)
    # The file goes first, its event is on the trail a moment later.
    assert eventually(lambda: [event.action for event in recorded(trainer, "nightly")][-1] == "retract", 20)


def test_a_run_whose_process_died_is_marked_as_crashed(running: Plant) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from flows.plant import Plant
from flows.serving.orchestration import connect
plant = Plant.open(Path(sys.argv[1]))
connect(plant)
import flows.changeover as room
room._steps = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
room.changeover(str(plant.path), "victim", "b1", str(plant.path / "empty"))
"""
    died = subprocess.run([sys.executable, "-c", code, str(running.path)], capture_output=True, check=False)
    assert died.returncode == -9, died.stderr
    body = {"flow_runs": {"name": {"any_": ["victim b1"]}}}
    assert ask(running, "flow_runs/filter", body)[0]["state_type"] == "RUNNING"

    clean = (
        "import sys; from pathlib import Path; from flows.plant import Plant; from flows.serving.orchestration import connect\n"
    )
    clean += "plant = Plant.open(Path(sys.argv[1])); connect(plant)\n"
    clean += "from flows.serving.janitor import clean_up; print(*(run.product for run in clean_up(plant)))"
    done = subprocess.run([sys.executable, "-c", clean, str(running.path)], capture_output=True, text=True, check=True)
    # A serving process may have been quicker.
    assert done.stdout.split() in ([], ["victim"])
    assert ask(running, "flow_runs/filter", body)[0]["state_type"] == "CRASHED"
    assert not any((running.state / "runs").glob("*.json")) or "victim" not in str(list((running.state / "runs").iterdir()))


def test_a_request_without_a_folder_is_refused(running: Plant, tmp_path: Path) -> None:
    with pytest.raises(PlantError, match="is not a folder"):
        request(running, "bolt", "b1", tmp_path / "nowhere", Requester(requested_by()))


def test_a_cron_line_that_does_not_parse_is_named(running: Plant) -> None:
    from flows.serve import _schedule

    with pytest.raises(PlantError, match=r"cron line '99 6 \* \* 1' of product 'bolt' does not parse"):
        _schedule("product 'bolt'", "99 6 * * 1")


def test_a_scheduled_batch_is_named_by_its_day() -> None:
    import datetime

    assert scheduled_batch(datetime.datetime(2026, 11, 21, 12, 0, tzinfo=datetime.UTC)) == "2026-11-21"


def _seconds(time_text: str) -> float:
    import datetime

    return datetime.datetime.fromisoformat(time_text).timestamp()
