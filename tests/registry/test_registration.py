"""What becomes a version: the server reads the files itself, closes them, and shows and promotes nothing that was exchanged."""

import hashlib
import json
import socket
import sqlite3
import threading
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from registry.client.promote import promote
from registry.client.sign_off import sign_off, status
from registry.client.training_run import log_model, log_run, run_of
from registry.client.versions import Registration, Version, register, version_of, versions
from registry.errors import Broken, Refused
from registry.rules.files import Files
from registry.trail.audit import read_events

from .conftest import PASSWORD, Registry

pytestmark = pytest.mark.servers
Make = Callable[..., Registration]
CREATE = "/api/2.0/mlflow/model-versions/create"


@pytest.fixture
def version(registry: Registry, make_request: Make) -> Version:
    """A candidate that nobody has signed."""
    return register(registry.trainer, make_request())


def logged(registry: Registry, request: Registration) -> tuple[str, str]:
    """Run and logged model of a batch, everything but the version itself."""
    with registry.trainer.client() as client:
        run = run_of(client, request.product, f"raw/{request.batch}", "raw", {})
        log_run(client, run, request.metrics, request.folder)
        model = log_model(client, run, request.folder / "model.onnx")
        create_model(client, request.product)
        return run.info.run_id, model


def create_model(client: MlflowClient, name: str) -> None:
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)


def raw(registry: Registry, request: Registration, run: str, model: str, **changed: str | None) -> tuple[int, str]:
    """Registers past our client, with the tags that it sends, some of them changed (None: left out)."""
    tags: dict[str, str | None] = {
        "changeover.batch": request.batch,
        "changeover.digest": request.metrics["model_digest"],
        "changeover.images": request.images_digest,
        "changeover.commit": request.commit,
        "changeover.gates": "passed" if request.metrics["passed"] else "failed",
        "qa": "pending",
    }
    tags |= {f"changeover.{key}": value for key, value in changed.items()}
    listed = [{"key": key, "value": value} for key, value in tags.items() if value is not None]
    body = {"name": request.product, "source": f"models:/{model}", "run_id": run, "model_id": model, "tags": listed}
    answer = registry.post(registry.trainer, CREATE, body)
    return answer.status_code, answer.json().get("message", "")


def test_the_server_writes_what_the_files_say(registry: Registry, version: Version, make_request: Make) -> None:
    request, tags = make_request(), version.tags
    report = b"".join((request.folder / name).read_bytes() for name in ("metrics.json", "report.html"))
    assert tags["changeover.report"] == hashlib.sha256(report).hexdigest()
    assert tags["changeover.threshold"] == "0.5" and tags["changeover.gates"] == "passed"
    manifest = json.loads((registry.state / "manifests" / f"{tags['changeover.files']}.json").read_text())
    assert manifest["model/artifacts/model.onnx"] == version.digest
    assert {"run/metrics.json", "run/report.html", "run/good.png", "run/defects.png", "run/dvc.lock"} <= set(manifest)
    assert len(tags["changeover.life"]) == 32
    (event,) = (e for e in read_events(registry.database, version.product) if e.action == "register")
    assert event.subject == tags["changeover.life"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"gates": "passed"}, "the files of"),
        ({"digest": "0" * 64}, "the files of"),
        ({"threshold": "99.0"}, "the files of"),
        ({"report": "0" * 64}, "the files of"),
        ({"batch": "another"}, "the files of"),
        ({"images": "cd" * 32}, "the files of"),
        ({"files": "0" * 64}, "written by the server alone"),
        ({"life": "0" * 32}, "written by the server alone"),
        ({"teacher": "0" * 64}, "written by the server alone"),
        ({"requested_by": "nobody in particular"}, "give os:NAME"),
        ({"requested_by": "user:\x1b[2J"}, "give os:NAME"),
        ({"batch": None}, "needs tags changeover.batch"),
        ({"digest": "x"}, "is no sha256"),
    ],
)  # fmt: skip
def test_a_trainers_word_counts_for_nothing(
    registry: Registry, make_request: Make, changed: dict[str, str | None], words: str
) -> None:
    request = make_request(passed=False)
    run, model = logged(registry, request)
    code, told = raw(registry, request, run, model, **changed)
    assert code == 403 and words in told, told
    assert versions(registry.vic, request.product) == []
    assert raw(registry, request, run, model)[0] == 200
    assert versions(registry.vic, request.product)[0].gates == "failed"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: {**m, "passed": True}, "does not say clearly whether the gates passed"),
        (lambda m: {**m, "passed": "yes"}, "does not say clearly"),
        (lambda m: {**m, "gates": [{"name": "x"}], "passed": True}, "does not say clearly"),
        (lambda m: {**m, "product": "another"}, "speaks of product 'another'"),
        (lambda m: {**m, "model_digest": "0" * 64}, "was measured on model"),
        (lambda m: [m], "has no metrics.json and report.html"),
        (lambda m: None, "has no metrics.json and report.html"),
    ],
)  # fmt: skip
def test_metrics_that_contradict_themselves_or_speak_of_something_else(
    registry: Registry, make_request: Make, change: Callable[[Any], Any], words: str
) -> None:
    request = make_request(passed=False)
    (request.folder / "metrics.json").write_text(json.dumps(change(dict(request.metrics))))
    run, model = logged(registry, request)
    code, told = raw(registry, request, run, model)
    assert code == 403 and words in told, told


def test_without_a_report_there_is_nothing_to_sign(registry: Registry, make_request: Make) -> None:
    request = make_request()
    (request.folder / "report.html").unlink()
    with pytest.raises(Refused, match=r"has no metrics\.json and report\.html"):
        register(registry.trainer, request)


def test_another_products_run_and_model(registry: Registry, version: Version, make_request: Make) -> None:
    request = make_request("b", threshold=0.7)
    other = replace(
        request, product=f"{request.product}-other", metrics={**request.metrics, "product": f"{request.product}-other"}
    )
    run, model = logged(registry, request)
    with registry.trainer.client() as client:
        create_model(client, other.product)
    assert "is of experiment" in raw(registry, other, run, model)[1]
    assert "not by" in raw(registry, request, version.run_id, model)[1], "a run that did not log the model"
    assert "belongs to version 1" in raw(registry, request, version.run_id, version.model_id)[1] or "is this model" in raw(
        registry, request, version.run_id, version.model_id
    )[1]  # fmt: skip
    assert raw(registry, request, run, model)[0] == 200
    assert raw(registry, request, run, model)[0] == 403, "once"


def test_one_file_one_name(registry: Registry, version: Version, make_request: Make) -> None:
    """The same model file as another batch, and as another product."""
    first = make_request()
    second = make_request("second")
    (second.folder / "model.onnx").write_bytes((first.folder / "model.onnx").read_bytes())
    metrics = {**second.metrics, "model_digest": version.digest}
    (second.folder / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(Refused, match="a model is registered once"):
        register(registry.trainer, replace(second, metrics=metrics))
    elsewhere = {**metrics, "product": "elsewhere"}
    (second.folder / "metrics.json").write_text(json.dumps(elsewhere))
    with pytest.raises(Refused, match="a model is registered once"):
        register(registry.trainer, replace(second, product="elsewhere", metrics=elsewhere))


def test_a_rejection_binds_the_file_under_every_name(registry: Registry, version: Version) -> None:
    """The registry is made to hold the same file twice, past the gate: rejected as one, it cannot be approved as the other."""
    sign_off(registry.ana, version.product, "1", "rejected", "misses chips")
    twin = f"{version.product}-twin"
    with sqlite3.connect(registry.database) as database:
        for table in ("registered_models", "model_versions", "model_version_tags"):
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            listed = ", ".join(columns)
            values = ", ".join("?" if column == "name" else column for column in columns)
            database.execute(
                f"INSERT INTO {table} ({listed}) SELECT {values} FROM {table} WHERE name = ?", (twin, version.product)
            )
        database.execute("UPDATE model_version_tags SET value = 'pending' WHERE name = ? AND key = 'qa'", (twin,))
        database.execute("DELETE FROM model_version_tags WHERE name = ? AND key LIKE 'qa.%'", (twin,))
    with pytest.raises(Refused, match=r"was rejected by 'ana' as version 1 of .*, and a rejection is final"):
        sign_off(registry.bo, twin, "1", "approved", "looks fine to me")


def test_own_work_stays_ones_own_after_delete_register_and_rename(registry: Registry, make_request: Make) -> None:
    roles = registry.admin.call("GET", "/api/3.0/mlflow/roles/list", params={"workspace": "default"})["roles"]
    change = {"username": "bo", "role_id": next(role["id"] for role in roles if role["name"] == "trainer")}
    request = make_request()
    registry.admin.call("POST", "/api/3.0/mlflow/roles/assign", json=change)
    try:
        mine = register(registry.bo, request)
        body = {"name": mine.product, "version": "1"}
        assert registry.post(registry.admin, "/api/2.0/mlflow/model-versions/delete", body, "DELETE").status_code == 200
        again = register(registry.bo, replace(request))
    finally:
        registry.admin.call("DELETE", "/api/3.0/mlflow/roles/unassign", json=change)
    rename = {"name": again.product, "new_name": f"{again.product}-new"}
    for who in (registry.admin, registry.bo, registry.trainer, registry.promoter):
        assert registry.post(who, "/api/2.0/mlflow/registered-models/rename", rename).status_code == 403
    with pytest.raises(Refused, match="nobody signs what they trained"):
        sign_off(registry.bo, again.product, again.version, "approved", "mine")
    with sqlite3.connect(registry.database) as database:  # the name changes past the gate: whose work it is does not
        database.execute("UPDATE registered_models SET name = ? WHERE name = ?", (rename["new_name"], again.product))
        for table in ("model_versions", "model_version_tags"):
            database.execute(f"UPDATE {table} SET name = ? WHERE name = ?", (rename["new_name"], again.product))
    with pytest.raises(Refused, match="nobody signs what they trained"):
        sign_off(registry.bo, rename["new_name"], again.version, "approved", "mine")


def test_swapped_files_are_neither_shown_nor_signed(registry: Registry, version: Version) -> None:
    sign_off(registry.ana, version.product, "1", "approved", "fine")
    sign_off(registry.ana, version.product, "1", "pending", "once more")
    (report,) = registry.state.glob(f"artifacts/*/{version.run_id}/artifacts/report.html")
    (picture,) = registry.state.glob(f"artifacts/*/{version.run_id}/artifacts/good.png")
    experiment = report.parts[-4]
    where = f"product={version.product}&version=1"
    addresses = [
        f"/get-artifact?path=report.html&run_uuid={version.run_id}", f"/get-artifact?path=metrics.json&run_id={version.run_id}",
        f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/{version.run_id}/artifacts/report.html",
        f"/ajax-api/2.0/mlflow-artifacts/artifacts/{experiment}/models/{version.model_id}/artifacts/artifacts/model.onnx",
        f"/model-versions/get-artifact?name={version.product}&version=1&path=artifacts/model.onnx",
        f"/ajax-api/2.0/mlflow/logged-models/{version.model_id}/artifacts/files?artifact_file_path=artifacts/model.onnx",
        f"/changeover/review/report?{where}",
    ]  # fmt: skip

    def shown(address: str) -> int:
        return registry.http.get(registry.url + address, auth=("ana", PASSWORD)).status_code

    assert [shown(one) for one in addresses] == [200] * len(addresses)
    for file in (report, picture, registry.model_file(version.model_id)):
        whole = file.read_bytes()
        file.write_bytes(b"exchanged")
        assert [shown(one) for one in addresses] == [409] * len(addresses)
        page = registry.http.get(f"{registry.url}/changeover/review?{where}", auth=("ana", PASSWORD)).text
        assert "Nothing of this version is shown" in page and "image AUROC" not in page
        with pytest.raises(Refused, match="was exchanged"):
            sign_off(registry.ana, version.product, "1", "approved", "fine")
        registry.set_tag(registry.ana, version.product, "1", "qa.reason", "fine")
        assert registry.set_tag(registry.ana, version.product, "1", "qa", "approved").status_code == 403
        file.write_bytes(whole)
        assert [shown(one) for one in addresses] == [200] * len(addresses)
    extra = report.with_name("extra.html")
    extra.write_text("look here instead")
    with pytest.raises(Refused, match=r"extra\.html.* was added"):
        sign_off(registry.ana, version.product, "1", "approved", "fine")
    extra.unlink()
    assert sign_off(registry.ana, version.product, "1", "approved", "fine").valid


def test_any_file_exchanged_after_the_signature_keeps_it_from_the_line(registry: Registry, version: Version) -> None:
    sign_off(registry.ana, version.product, "1", "approved", "fine")
    (lock,) = registry.state.glob(f"artifacts/*/{version.run_id}/artifacts/dvc.lock")
    lock.write_text("schema: '9'\n")
    with pytest.raises((Refused, Broken), match="was exchanged"):
        promote(registry.promoter, version.product)
    answer = registry.set_alias(registry.promoter, version.product, "1", "champion")
    assert answer.status_code == 403 and "dvc.lock" in answer.json()["message"]
    assert not status(registry.vic, version.product, "1").valid


class Upload(threading.Thread):
    """A chunked upload that sends its last piece when it is told to."""

    def __init__(self, registry: Registry, path: str, content: bytes) -> None:
        super().__init__(daemon=True)
        host, _, port = registry.url.removeprefix("http://").partition(":")
        secret = b64encode(f"{registry.trainer.user}:{registry.trainer.password}".encode()).decode()
        head = (
            f"PUT /api/2.0/mlflow-artifacts/artifacts/{path} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Basic {secret}\r\n"
        )
        self.begun, self.go = threading.Event(), threading.Event()
        self.address, self.head, self.content = (host, int(port)), f"{head}Transfer-Encoding: chunked\r\n\r\n", content
        self.answer = b""

    def run(self) -> None:
        with socket.create_connection(self.address, timeout=60) as connection:
            connection.sendall(self.head.encode() + b"%x\r\n" % len(self.content) + self.content + b"\r\n")
            self.begun.set()
            self.go.wait(60)
            connection.sendall(b"0\r\n\r\n")
            while b"\r\n\r\n" not in self.answer and (more := connection.recv(65536)):
                self.answer += more


def test_an_upload_that_ends_after_registration_changes_nothing(registry: Registry, make_request: Make) -> None:
    request = make_request()
    run, model = logged(registry, request)
    with registry.vic.client() as client:
        experiment = client.get_run(run).info.experiment_id
    places = (f"{experiment}/{run}/artifacts/report.html", f"{experiment}/models/{model}/artifacts/artifacts/model.onnx")
    uploads = [Upload(registry, place, b"begun before, ended after") for place in places]
    for upload in uploads:
        upload.start()
        assert upload.begun.wait(30)
    assert raw(registry, request, run, model)[0] == 200
    sign_off(registry.ana, request.product, "1", "approved", "fine")
    promote(registry.promoter, request.product)
    for upload in uploads:
        upload.go.set()
        upload.join(60)
        assert b" 403 " in upload.answer.partition(b"\r\n")[0], upload.answer
    assert status(registry.vic, request.product, "1").valid
    late = [e for e in read_events(registry.database) if e.action == "artifact.write" and e.subject in places and not e.allowed]
    assert [event.reason.partition(" and ")[0].endswith(request.product) for event in late] == [True, True]


def test_artifacts_that_are_written_leave_events(registry: Registry, make_request: Make) -> None:
    request = make_request()
    run, _ = logged(registry, request)
    written = {
        e.subject.rpartition("/")[2]: e
        for e in read_events(registry.database)
        if e.action == "artifact.write" and run in e.subject
    }
    assert set(written) >= {"report.html", "metrics.json", "good.png"}
    for name in ("report.html", "metrics.json"):
        event = written[name]
        assert (event.actor, event.allowed) == ("trainer", True)
        assert event.digest == hashlib.sha256((request.folder / name).read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["admin", "trainer", "promoter", "ana"])
@pytest.mark.parametrize(
    ("method", "deed", "more"),
    [("POST", "update", {"new_name": "renamed"}), ("POST", "delete", {}), ("POST", "restore", {}),
     ("POST", "set-experiment-tag", {"key": "a", "value": "b"}), ("POST", "delete-experiment-tag", {"key": "a"})],
)  # fmt: skip
def test_experiments_that_hold_versions_stay(
    registry: Registry, unsigned: Version, name: str, method: str, deed: str, more: dict[str, str]
) -> None:
    with registry.vic.client() as client:
        experiment = client.get_run(unsigned.run_id).info.experiment_id
    for prefix in ("api", "ajax-api"):
        answer = registry.post(
            getattr(registry, name), f"/{prefix}/2.0/mlflow/experiments/{deed}", {"experiment_id": experiment, **more}, method
        )
        assert answer.status_code == 403, answer.text
    with registry.vic.client() as client:
        assert client.get_experiment(experiment).name == unsigned.product


@pytest.mark.parametrize(
    "deed", ["delete", "restore", "update", "set-tag", "log-metric", "log-parameter", "log-batch", "delete-tag"]
)
def test_runs_that_hold_versions_stay(registry: Registry, unsigned: Version, deed: str) -> None:
    body = {"run_id": unsigned.run_id, "run_uuid": unsigned.run_id, "key": "a", "value": "1", "timestamp": 1, "status": "FAILED",
            "metrics": [], "params": [{"key": "b", "value": "c"}]}  # fmt: skip
    for name in ("admin", "trainer"):
        answer = registry.post(getattr(registry, name), f"/api/2.0/mlflow/runs/{deed}", body)
        words = "only role admin" if name == "trainer" and deed in ("delete", "restore") else "closed with its registration"
        assert answer.status_code == 403 and words in answer.json()["message"], answer.text


@pytest.fixture(scope="module")
def unsigned(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Version:
    """A candidate for tests that only meet refusals."""
    from .conftest import request_for

    return register(registry.trainer, request_for(tmp_path_factory.mktemp("closed"), "closed-1", "a"))


def test_the_trainer_does_not_undo_a_roll_back(registry: Registry, make_request: Make) -> None:
    first = register(registry.trainer, make_request("a", threshold=0.3))
    product = first.product
    for number, request in (("1", None), ("2", make_request("b", threshold=0.4))):
        if request is not None:
            register(registry.trainer, request)
        sign_off(registry.ana, product, number, "approved", "fine")
        promote(registry.promoter, product)
    assert registry.post(registry.ana, "/changeover/roll-back", {"product": product, "reason": "misses chips"}).status_code == 200
    for who in (registry.trainer, registry.promoter, registry.admin):
        assert registry.set_alias(who, product, "2", "candidate").status_code == 403
    for alias in ("champion", "previous"):
        answer = registry.set_alias(registry.promoter, product, "2", alias)
        assert answer.status_code == 403 or alias == "previous"
    with pytest.raises(Refused, match="rolled back from version 2"):
        promote(registry.promoter, product, "2")
    assert promote(registry.promoter, product).version == "1", "the champion is confirmed, nothing else"
    sign_off(registry.bo, product, "2", "pending", "decide anew")
    sign_off(registry.bo, product, "2", "approved", "the lamp was off, the model is right")
    assert version_of(registry.vic, product, "2").aliases == ("candidate",)
    assert promote(registry.promoter, product).version == "2"


def test_links_and_pipes_among_the_files_are_no_files(tmp_path: Path) -> None:
    files = Files(tmp_path)
    digest = files.keep({"run/a": "0" * 64})
    assert json.loads((tmp_path / "manifests" / f"{digest}.json").read_text()) == {"run/a": "0" * 64}
    assert files.keep({"run/a": "0" * 64}) == digest
    assert [file.name for file in (tmp_path / "manifests").iterdir()] == [f"{digest}.json"]
