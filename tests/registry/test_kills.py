"""A worker that dies between any two effects of a deed: afterwards the deed is done with its events, or not done with none."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry.client.connection import Connection
from registry.client.promote import promote
from registry.client.publish import publish
from registry.client.record import record
from registry.client.sign_off import sign_off
from registry.client.training_run import log_model, log_run, run_of
from registry.client.versions import register
from registry.names import TAG_BATCH, TAG_COMMIT, TAG_DIGEST, TAG_GATES, TAG_IMAGES, TAG_QA, TAG_REQUESTED_BY
from registry.server.app import server_command

from .conftest import PASSWORD, Registry, request_for, running, vouch

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(7200)]
LONG = bool(os.environ.get("CHANGEOVER_LONG_TESTS"))
"""All places, with one worker and with three: over an hour. Else one of some deeds: a statement, a commit, a file in turn."""
SOME = {"sqlite": slice(1, None, 6), "postgresql": slice(0, None, 12)}
"""Which deeds those are, other ones on each database: decisions, the champion, people and the line's folder are among them."""
WORKERS = {"sqlite": [1, 3] if LONG else [1], "postgresql": [1, 3] if LONG else [3]}


def ready(registry: Registry, folder: Path) -> dict[str, Any]:
    """A run and a model that only want to be registered; the body of the request."""
    request = request_for(folder, "gear", "b", threshold=0.7)
    with registry.trainer.client() as client:
        digest = request.metrics["model_digest"]
        run = run_of(client, "gear", f"{digest}/b", "gear/b", {TAG_BATCH: "b"})
        log_run(client, run, request.metrics, request.folder)
        model = log_model(client, run, request.folder / "model.onnx")
        client.set_terminated(run.info.run_id)
    tags = {
        TAG_BATCH: "b", TAG_DIGEST: digest, TAG_IMAGES: request.images_digest, TAG_COMMIT: request.commit,
        TAG_GATES: "passed", TAG_QA: "pending", TAG_REQUESTED_BY: "os:line",
    }  # fmt: skip
    named = [{"key": key, "value": value} for key, value in tags.items()]
    return {"name": "gear", "source": f"models:/{model}", "run_id": run.info.run_id, "model_id": model, "tags": named}


def deed(name: str, by: Connection, request: str, /, wrong: str = "", **body: Any) -> dict[str, Any]:
    """As ``kills.Deed`` has it. ``request``: method and path."""
    method, path = request.split()
    return {"name": name, "by": (by.user, by.password), "method": method, "path": path, "body": body, "wrong": wrong}


def sign(by: Connection, name: str, product: str, version: str, decision: str) -> dict[str, Any]:
    words = {"product": product, "version": version, "decision": decision, "reason": "as it is", "password": by.password}
    return deed(name, by, "POST /changeover/sign", **words, way="terminal")


def made(registry: Registry, folder: Path, line: Path) -> list[dict[str, Any]]:
    """A plant in which every deed can be done, and the deeds."""
    vouch(registry, folder)
    for product, number, threshold in (("bolt", "1", 0.3), ("bolt", "2", 0.4), ("nut", "1", 0.5), ("gear", "1", 0.6)):
        register(registry.trainer, request_for(folder, product, number, threshold=threshold))
        sign_off(registry.ana, product, number, "approved", "fine")
        promote(registry.promoter, product)
        publish(registry.promoter, product, number, line)
        record(registry.promoter, "publish", product, version=number, subject=str(line / product))
    register(registry.trainer, request_for(folder, "bolt", "3", threshold=0.45))
    register(registry.trainer, request_for(folder, "bolt", "4", passed=False, threshold=0.46))
    register(registry.trainer, request_for(folder, "nut", "2", threshold=0.55))
    sign_off(registry.bo, "nut", "2", "approved", "better")
    admin, trainer, promoter, ana, bo = registry.admin, registry.trainer, registry.promoter, registry.ana, registry.bo
    api = "/api/2.0/mlflow"
    forged = "UPDATE registered_model_aliases SET version = 1 WHERE name = 'bolt' AND alias = 'champion'"
    back = {"product": "bolt", "reason": "it misses chips"}
    person = {"user": "cem", "password": PASSWORD, "role": "qa", "name": "Cem Example"}
    qa_of_champion = {"name": "bolt", "version": "2", "key": "qa"}
    champion = {"name": "nut", "alias": "champion", "version": "2"}
    return [
        deed("registration", trainer, f"POST {api}/model-versions/create", **ready(registry, folder)),
        sign(ana, "approval", "bolt", "3", "approved"),
        sign(ana, "rejection", "bolt", "3", "rejected"),
        sign(bo, "waiver", "bolt", "4", "waived"),
        sign(bo, "withdrawal", "bolt", "2", "pending"),
        sign(bo, "withdrawal of the only one", "gear", "1", "pending"),
        deed("withdrawal by a tag", ana, f"POST {api}/model-versions/set-tag", **qa_of_champion, value="pending"),
        deed("withdrawal by no tag", ana, f"DELETE {api}/model-versions/delete-tag", **qa_of_champion),
        deed("promotion", promoter, "POST /changeover/promote", product="nut", version="2"),
        deed("champion by MLflow's way", promoter, f"POST {api}/registered-models/alias", **champion),
        deed("roll-back", ana, "POST /changeover/roll-back", **back, emergency=False),
        deed("emergency", promoter, "POST /changeover/roll-back", **back, emergency=True),
        deed("putting back", promoter, "POST /changeover/watch", wrong=forged),
        deed("new person", admin, "POST /changeover/users", **person),
        deed("password", admin, f"PATCH {api}/users/update-password", username="vic", password="another long one"),
        deed("administrator", admin, f"PATCH {api}/users/update-admin", username="vic", is_admin=True),
        deed("dismissal", admin, f"DELETE {api}/users/delete", username="vic"),
        deed("full name", admin, "POST /changeover/people", user="vic", name="Vic Example"),
        deed("deleted version", admin, f"DELETE {api}/model-versions/delete", name="bolt", version="4"),
        deed("experiment", trainer, f"POST {api}/experiments/create", name="cog"),
        deed("registered model", trainer, f"POST {api}/registered-models/create", name="cog"),
    ]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_deed_is_done_with_its_events_or_not_at_all(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    new: Callable[[], str] | None = request.getfixturevalue("postgresql") if kind == "postgresql" else None
    database = None if new is None else new()
    state, line = tmp_path / "state", tmp_path / "line"
    state.mkdir()
    with running(state, database, published=line) as registry:
        deeds = made(registry, tmp_path, line)
        tried = deeds if LONG else deeds[SOME[kind]]
        promoter = (registry.promoter.user, registry.promoter.password)
    _, environment = server_command(state, 5000, database, published=line)
    plan = tmp_path / "plan.json"
    (tmp_path / "kept").mkdir()
    plan.write_text(
        json.dumps(
            {
                "state": str(state),
                "published": str(line),
                "kept": str(tmp_path / "kept"),
                "database": database,
                "deeds": tried,
                "promoter": promoter,
                "workers": WORKERS[kind],
                "all": LONG,
            }
        )
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.registry.kills", str(plan)]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    told = [json.loads(one) for one in done.stdout.splitlines() if one.startswith("{")]
    assert [one["deed"] for one in told] == [one["name"] for one in tried] * len(WORKERS[kind])
    places, kills = (sum(len(one[key]) for one in told) for key in ("places", "tried"))
    with capsys.disabled():
        print(f"\n{kind}, {WORKERS[kind]} workers: {kills} of {places} places between two effects of {len(told)} deeds tried")
    assert [problem for one in told for problem in one["problems"]] == []
