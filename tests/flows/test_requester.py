"""Who asked is what the registry's trail bears out; whatever a run's parameters claim, nobody can put a name on somebody else."""

import getpass
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows.plant import Plant
from flows.requester import Requester, ask_as_person, proved, requested_by
from flows.serving.services import connect_as, connect_as_person
from registry.client.record import recorded
from registry.client.users import add_user
from registry.client.versions import Version, version_of
from registry.errors import Refused
from tests.registry.conftest import request_for

HERE = requested_by()


def test_the_account_is_the_systems_word_not_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody.else")
    assert getpass.getuser() == "somebody.else"
    assert requested_by() == HERE and "somebody" not in HERE


@pytest.mark.parametrize("by", [None, "", 5, ["user:eva"], {"a": 1}])
def test_parameters_that_name_nobody(by: Any) -> None:
    assert Requester.of_parameters(by, "1").by == HERE


@pytest.mark.parametrize("event", [None, "", "-1", "1.0", "x", 7, ["7"], "9" * 5000, "\u00b2", " 7"])
def test_parameters_that_number_nothing(event: Any) -> None:
    assert Requester.of_parameters("user:eva", event) == Requester("user:eva", None)


def test_what_is_sent_comes_back() -> None:
    for requester in (Requester("user:eva", 7), Requester(HERE)):
        assert Requester.of_parameters(*requester.as_parameters()) == requester


def test_the_flow_takes_texts_because_an_event_carries_nothing_else() -> None:
    from flows.changeover import changeover

    parameters = inspect.signature(changeover.fn).parameters
    assert (parameters["requested_by"].annotation, parameters["request_event"].annotation) == (str, str)


@pytest.mark.servers
@pytest.mark.slow
def test_a_claim_counts_as_far_as_the_trail_bears_it_out(running: Plant) -> None:
    for name in ("asker.one", "asker.two"):
        add_user(connect_as(running, "admin"), name, "correct horse battery", "qa")
    trainer = connect_as(running, "trainer")
    one = connect_as_person(running, "asker.one", "correct horse battery")
    requester = ask_as_person(one, "bolt", "b7")
    assert requester.by == "user:asker.one" and requester.event
    assert proved(trainer, requester, "bolt", "b7") == "user:asker.one"

    later = ask_as_person(one, "nut", "b7").event
    for claim, product, batch in (
        (Requester("user:asker.two", requester.event), "bolt", "b7"),  # another person
        (Requester("user:asker.one", requester.event), "bolt", "b8"),  # another batch
        (Requester("user:asker.one", requester.event), "nut", "b7"),  # another product
        (Requester("user:asker.one", requester.event - 1), "bolt", "b7"),  # another event
        (Requester("user:asker.one", requester.event + 1), "bolt", "b7"),
        (Requester("user:asker.one", later), "bolt", "b7"),
        (Requester("user:asker.one", 10**11), "bolt", "b7"),
        (Requester("user:asker.one", 0), "bolt", "b7"),
        (Requester("user:asker.one"), "bolt", "b7"),
        (Requester("user:(server)", requester.event), "bolt", "b7"),
        (Requester("asker.one", requester.event), "bolt", "b7"),
        (Requester("os:somebody.else"), "bolt", "b7"),
        (Requester("os:somebody.else", requester.event), "bolt", "b7"),
    ):
        assert proved(trainer, claim, product, batch) == HERE, claim


@pytest.mark.servers
@pytest.mark.slow
def test_asking_as_a_person_wants_their_password_and_a_role(running: Plant) -> None:
    add_user(connect_as(running, "admin"), "only.looks", "correct horse battery", "viewer")
    with pytest.raises(Refused):
        ask_as_person(connect_as_person(running, "only.looks", "wrong horse battery"), "bolt", "b7")
    with pytest.raises(Refused, match="may not ask for a changeover"):
        ask_as_person(connect_as_person(running, "only.looks", "correct horse battery"), "bolt", "b7")


@pytest.mark.servers
@pytest.mark.slow
def test_another_plant_and_odd_parameters_are_refused(running: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.errors import PlantError
    from flows.serving.orchestration import own_plant

    monkeypatch.setenv("CHANGEOVER_PLANT", str(running.path))
    assert own_plant(str(running.path)).path == running.path
    own = str(running.path)
    for named in (str(tmp_path), "", None, 5, [own], "\0", json.dumps(own), "~nobody-here/x", f"{own}/."):
        with pytest.raises(PlantError, match="this process works for"):
            own_plant(named)
    monkeypatch.delenv("CHANGEOVER_PLANT")
    with pytest.raises(PlantError, match="works for no plant"):
        own_plant(str(running.path))


@pytest.mark.servers
@pytest.mark.slow
def test_the_command_asks_as_a_person_and_the_record_names_them(running: Plant, tmp_path: Path) -> None:
    add_user(connect_as(running, "admin"), "asker.three", "correct horse battery", "qa")
    (tmp_path / "images").mkdir()
    words = ["request", "--product", "washer", "--batch", "b1", "--images", str(tmp_path / "images"), "--user", "asker.three"]
    command = [sys.executable, "-m", "flows.cli", *words, "--plant", str(running.path)]
    environment = os.environ | {"CHANGEOVER_PASSWORD": "wrong horse battery"}
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert refused.returncode == 2 and "does not know user 'asker.three' with this password" in refused.stderr
    assert "wrong horse" not in refused.stderr
    environment["CHANGEOVER_PASSWORD"] = "correct horse battery"
    subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    trainer = connect_as(running, "trainer")
    event = [one for one in recorded(trainer, "washer") if one.action == "request" and one.allowed][-1]
    assert (event.actor, event.subject) == ("asker.three", "b1")
    requester = Requester("user:asker.three", event.seq)
    version = registered(running, tmp_path, "b1", requester)
    assert version.tags["changeover.requested_by"] == "user:asker.three"
    # The same claim for another batch is worth nothing.
    other = registered(running, tmp_path, "b2", requester)
    assert other.tags["changeover.requested_by"] == HERE


def registered(plant: Plant, folder: Path, batch: str, requester: Requester) -> Version:
    """What the step register makes of a batch with a report and nothing else."""
    from flows.steps.register import register

    made = request_for(folder, "washer", batch)
    files = SimpleNamespace(file=lambda name: made.folder, read_record=lambda: SimpleNamespace(digest=made.images_digest))
    job: Any = SimpleNamespace(plant=plant, product="washer", batch=batch, folder=files)
    return version_of(connect_as(plant, "trainer"), "washer", register(job, made.commit, requester).version)
