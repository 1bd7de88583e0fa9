"""Who may do what at a real server, asked as a browser or an attacker would ask."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from registry.client.connection import Connection
from registry.client.promote import promote
from registry.client.record import record, recorded
from registry.client.sign_off import sign_off, status
from registry.client.versions import Registration, Version, champion, previous, register, version_of
from registry.errors import Refused
from registry.trail.audit import read_events, verify

from .conftest import Registry, other_model, request_for

pytestmark = pytest.mark.servers

Make = Callable[..., Registration]
EVERYBODY = ("admin", "trainer", "promoter", "ana", "vic", "bare")


@pytest.fixture
def version(registry: Registry, make_request: Make) -> Version:
    """A candidate that nobody has signed."""
    return register(registry.trainer, make_request())


@pytest.fixture(scope="module")
def unsigned(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Version:
    """A candidate for tests that only meet refusals."""
    return register(registry.trainer, request_for(tmp_path_factory.mktemp("unsigned"), "nut-m8", "a"))


def refused(answer: Any, words: str) -> None:
    """A 403 whose JSON MLflow's dialogs can show."""
    assert answer.status_code == 403, answer.text
    body = answer.json()
    assert body["error_code"] == "PERMISSION_DENIED"
    assert words in body["message"], body["message"]
    assert "\n" not in body["message"]


def holders(registry: Registry, product: str) -> tuple[str | None, str | None]:
    """Versions of champion and previous."""
    now, before = champion(registry.vic, product), previous(registry.vic, product)
    return now and now.version, before and before.version


def who(registry: Registry, name: str) -> Connection:
    found = getattr(registry, name)
    assert isinstance(found, Connection)
    return found


def test_quality_assurance_signs_as_the_page_does(registry: Registry, version: Version) -> None:
    product = version.product
    refused(registry.set_tag(registry.ana, product, "1", "qa", "approved"), "without a reason: add tag 'qa.reason' first")
    assert registry.set_tag(registry.ana, product, "1", "qa.reason", "looks right").status_code == 200
    assert registry.set_tag(registry.ana, product, "1", "qa", "approved").status_code == 200
    found = status(registry.vic, product, "1")
    assert (found.decision, found.by, found.reason, found.valid) == ("approved", "ana", "looks right", True)
    tags = version_of(registry.vic, product, "1").tags
    assert tags["qa.digest"] == version.digest
    assert tags["qa.at"] == found.at
    assert found.at.endswith("+00:00")


@pytest.mark.parametrize("name", [name for name in EVERYBODY if name != "ana"])
def test_nobody_else_signs(registry: Registry, unsigned: Version, name: str) -> None:
    before = version_of(registry.vic, unsigned.product, "1").tags
    for key, value in (("qa", "approved"), ("qa", "pending"), ("qa.reason", "because")):
        refused(registry.set_tag(who(registry, name), unsigned.product, "1", key, value), "only role qa")
    for key in ("qa", "qa.reason"):
        body = {"name": unsigned.product, "version": "1", "key": key}
        answer = registry.post(who(registry, name), "/api/2.0/mlflow/model-versions/delete-tag", body, "DELETE")
        refused(answer, "only role qa")
    assert version_of(registry.vic, unsigned.product, "1").tags == before


def test_decisions_are_three_words(registry: Registry, unsigned: Version) -> None:
    registry.set_tag(registry.ana, unsigned.product, "1", "qa.reason", "because")
    for value in ("Approved", "approved ", "yes", "", "approved\n"):
        answer = registry.set_tag(registry.ana, unsigned.product, "1", "qa", value)
        refused(answer, "approved, rejected, pending")


@pytest.mark.parametrize("name", EVERYBODY)
@pytest.mark.parametrize("key", ["qa.by", "qa.at", "qa.digest"])
def test_stamps_are_the_servers(registry: Registry, unsigned: Version, name: str, key: str) -> None:
    refused(registry.set_tag(who(registry, name), unsigned.product, "1", key, "mallory"), "stamped by the server alone")


def test_look_alikes_of_stamps(registry: Registry, unsigned: Version) -> None:
    for key in ("QA", "qa ", " qa", "Qa.By", "qa.certificate", "CHANGEOVER.digest", "changeover.Digest"):
        refused(registry.set_tag(registry.admin, unsigned.product, "1", key, "approved"), "looks like one of the registry's own")


def test_stamps_follow_the_last_decision(registry: Registry, version: Version) -> None:
    product = version.product
    assert sign_off(registry.ana, product, "1", "approved", "fine").valid
    for name in ("ana", "bo"):
        refused(registry.set_tag(who(registry, name), product, "1", "qa.reason", "my words"), "part of what 'ana' signed")
    body = {"name": product, "version": "1", "key": "qa"}
    assert registry.post(registry.ana, "/api/2.0/mlflow/model-versions/delete-tag", body, "DELETE").status_code == 200
    assert set(version_of(registry.vic, product, "1").tags) & {"qa", "qa.by", "qa.at", "qa.digest", "qa.record"} == set()
    assert not status(registry.vic, product, "1").valid
    found = sign_off(registry.bo, product, "1", "rejected", "a scratch is missed")
    assert (found.by, found.decision, found.valid) == ("bo", "rejected", False)


def test_a_rejection_is_final(registry: Registry, version: Version) -> None:
    product = version.product
    assert sign_off(registry.ana, product, "1", "rejected", "a scratch is missed").decision == "rejected"
    assert version_of(registry.vic, product, "1").aliases == (), "no candidate any longer"
    for name in ("ana", "bo"):
        for value in ("approved", "pending", "rejected"):
            refused(registry.set_tag(who(registry, name), product, "1", "qa", value), "a rejection is final")
        body = {"name": product, "version": "1", "key": "qa"}
        answer = registry.post(who(registry, name), "/api/2.0/mlflow/model-versions/delete-tag", body, "DELETE")
        refused(answer, "a rejection is final")
    refused(registry.set_alias(registry.trainer, product, "1", "candidate"), "was rejected")
    refused(registry.set_alias(registry.promoter, product, "1", "champion"), "is rejected, not approved")


def test_failed_gates_take_two_people(registry: Registry, make_request: Make) -> None:
    product = register(registry.trainer, make_request(passed=False)).product
    refused(registry.set_alias(registry.trainer, product, "1", "candidate"), "did not pass its gates")
    assert registry.set_tag(registry.bo, product, "1", "qa.reason", "three worst cases looked at").status_code == 200
    refused(registry.set_tag(registry.bo, product, "1", "qa", "approved"), "failed its gates")
    refused(registry.set_tag(registry.vic, product, "1", "qa.waiver", "fine"), "only role qa")
    refused(registry.set_tag(registry.ana, product, "1", "qa.waiver", "  "), "without a reason")
    assert registry.set_tag(registry.ana, product, "1", "qa.waiver", "one lock image has a print error").status_code == 200
    refused(registry.set_tag(registry.ana, product, "1", "qa", "approved"), "a second person")
    refused(registry.set_tag(registry.bo, product, "1", "qa.waiver", "me too"), "the waiver is theirs")
    refused(registry.set_alias(registry.promoter, product, "1", "champion"), "pending, not approved")
    assert registry.set_tag(registry.bo, product, "1", "qa", "approved").status_code == 200
    refused(registry.set_tag(registry.ana, product, "1", "qa.waiver", "other words"), "withdraw the sign-off first")
    assert status(registry.vic, product, "1").valid
    assert promote(registry.promoter, product).version == "1"


def test_gates_that_passed_cannot_be_waived(registry: Registry, unsigned: Version) -> None:
    refused(registry.set_tag(registry.ana, unsigned.product, "1", "qa.waiver", "in case"), "nothing to waive")


def test_a_withdrawn_approval_demotes_to_the_version_before_at_once(registry: Registry, make_request: Make) -> None:
    first = register(registry.trainer, make_request("a"))
    product = first.product
    second = replace(make_request("b"), product=product)
    sign_off(registry.ana, product, "1", "approved", "fine")
    promote(registry.promoter, product)
    register(registry.trainer, second)
    sign_off(registry.bo, product, "2", "approved", "better")
    promote(registry.promoter, product)
    assert holders(registry, product) == ("2", "1")
    sign_off(registry.ana, product, "2", "pending", "a customer complains")
    assert holders(registry, product) == ("1", None)
    sign_off(registry.ana, product, "1", "pending", "and this one too")
    assert holders(registry, product) == (None, None)
    moved = [
        (e.action, e.subject, e.before, e.after)
        for e in read_events(registry.database, product)
        if e.reason.startswith("the app")
    ]
    assert moved == [
        ("alias.set", "champion", "2", "1"), ("alias.delete", "previous", "1", ""), ("alias.delete", "champion", "1", "")
    ]  # fmt: skip


def test_nobody_signs_what_they_registered(registry: Registry, make_request: Make) -> None:
    roles = registry.admin.call("GET", "/api/3.0/mlflow/roles/list", params={"workspace": "default"})["roles"]
    trainer_role = next(role["id"] for role in roles if role["name"] == "trainer")
    change = {"username": "bo", "role_id": trainer_role}
    registry.admin.call("POST", "/api/3.0/mlflow/roles/assign", json=change)
    try:
        version = register(registry.bo, make_request())
        for key, value in (("qa.reason", "mine"), ("qa", "approved")):
            refused(registry.set_tag(registry.bo, version.product, "1", key, value), "nobody signs what they trained")
    finally:
        registry.admin.call("DELETE", "/api/3.0/mlflow/roles/unassign", json=change)
    assert sign_off(registry.ana, version.product, "1", "approved", "fine").valid


def test_only_the_promoter_moves_the_champion(registry: Registry, version: Version) -> None:
    sign_off(registry.ana, version.product, "1", "approved", "fine")
    for name in EVERYBODY:
        if name == "promoter":
            continue
        for alias in ("champion", "previous"):
            refused(registry.set_alias(who(registry, name), version.product, "1", alias), "only role promoter")
            body = {"name": version.product, "alias": alias}
            answer = registry.post(who(registry, name), "/api/2.0/mlflow/registered-models/alias", body, "DELETE")
            refused(answer, "only role promoter")


def test_the_server_itself_asks_for_the_sign_off(registry: Registry, unsigned: Version) -> None:
    for alias in ("champion", "previous"):
        refused(registry.set_alias(registry.promoter, unsigned.product, "1", alias), "pending, not approved")
    refused(registry.set_alias(registry.promoter, unsigned.product, "1", "candidate"), "only role trainer")
    for alias in ("production", "Champion", "champion "):
        refused(registry.set_alias(registry.promoter, unsigned.product, "1", alias), "is unknown here")


def test_the_record_is_written_once(registry: Registry, unsigned: Version) -> None:
    product = unsigned.product
    for name in EVERYBODY:
        words = "written once" if name == "trainer" else "comes from role trainer"
        refused(registry.set_tag(who(registry, name), product, "1", "changeover.digest", "0" * 64), words)
        body: dict[str, str] = {"name": product, "version": "1", "key": "changeover.gates"}
        answer = registry.post(who(registry, name), "/api/2.0/mlflow/model-versions/delete-tag", body, "DELETE")
        refused(answer, "written once")
        body = {"name": product, "version": "1", "description": "all is well"}
        answer = registry.post(who(registry, name), "/ajax-api/2.0/mlflow/model-versions/update", body, "PATCH")
        refused(answer, "part of what is signed")
        body = {"name": product, "version": "1", "stage": "Production"}
        answer = registry.post(who(registry, name), "/api/2.0/mlflow/model-versions/transition-stage", body)
        refused(answer, "aliases say what a version is for")
    assert registry.set_tag(registry.trainer, product, "1", "changeover.certificate", "ok").status_code == 200
    refused(registry.set_tag(registry.trainer, product, "1", "changeover.certificate", "other"), "written once")


def test_the_run_behind_a_version_is_closed(registry: Registry, unsigned: Version) -> None:
    metric = {"run_id": unsigned.run_id, "key": "image_auroc", "value": 1.0, "timestamp": 1}
    for name, words in (("trainer", "closed with its registration"), ("ana", "only role admin"), ("vic", "only role admin")):
        refused(registry.post(who(registry, name), "/api/2.0/mlflow/runs/log-metric", metric), words)
    twice = {"run_uuid": unsigned.run_id, "runId": "0" * 32, "key": "a", "value": "b"}
    refused(registry.post(registry.trainer, "/ajax-api/2.0/mlflow/runs/set-tag", twice), "closed with its registration")
    tags = {"tags": [{"key": "a", "value": "b"}]}
    path = f"/api/2.0/mlflow/logged-models/{unsigned.model_id}"
    refused(registry.post(registry.trainer, f"{path}/tags", tags, "PATCH"), "closed with its registration")
    for who_deletes in (registry.admin, registry.trainer):
        answer = registry.post(who_deletes, "/api/2.0/mlflow/runs/delete", {"run_id": unsigned.run_id})
        assert answer.status_code == 403
        assert registry.post(who_deletes, path, None, "DELETE").status_code == 403


@pytest.mark.parametrize("prefix", ["api", "ajax-api"])
def test_files_behind_a_version_are_closed(registry: Registry, unsigned: Version, prefix: str) -> None:
    with registry.vic.client() as client:
        experiment = client.get_run(unsigned.run_id).info.experiment_id
    model = f"{experiment}/models/{unsigned.model_id}/artifacts/artifacts/model.onnx"
    report = f"{experiment}/{unsigned.run_id}/artifacts/report.html"
    base = f"/{prefix}/2.0/mlflow-artifacts/artifacts"
    for path in (model, report):
        for name in ("trainer", "admin"):
            for method in ("PUT", "DELETE"):
                answer = registry.post(who(registry, name), f"{base}/{path}", "evil", method)
                refused(answer, "closed with its registration")
        for name in ("ana", "vic", "promoter", "bare"):
            refused(registry.post(who(registry, name), f"{base}/{path}", "evil", "PUT"), "may not write artifacts")
        assert registry.post(None, f"{base}/{path}", "evil", "PUT").status_code == 401
    for crooked in (report.replace("/artifacts/", "/%2e%2e/"), report.replace("report", "%252e%252e/report"), "a/../b", "x"):
        answer = registry.post(registry.trainer, f"{base}/{crooked}", "evil", "PUT")
        assert answer.status_code in (400, 403, 404), answer.text
    for path in ("/ajax-api/2.0/mlflow/upload-artifact", "/api/2.0/mlflow/artifacts/presigned-upload-url"):
        body = {"run_id": unsigned.run_id, "path": "report.html"}
        assert registry.post(registry.trainer, f"{path}?run_uuid={unsigned.run_id}&path=report.html", body).status_code == 403
    assert registry.model_file(unsigned.model_id).read_bytes() != b'"evil"'


def test_deleting(registry: Registry, make_request: Make, version: Version) -> None:
    product = version.product
    second = register(registry.trainer, other_model(make_request(), 0.7))
    sign_off(registry.ana, product, second.version, "approved", "fine")
    promote(registry.promoter, product)
    one, two = ({"name": product, "version": number} for number in ("1", "2"))
    delete = "/api/2.0/mlflow/model-versions/delete"
    for name in ("trainer", "promoter", "ana", "vic", "bare"):
        refused(registry.post(who(registry, name), delete, one, "DELETE"), "only role admin")
        answer = registry.post(who(registry, name), "/api/2.0/mlflow/registered-models/delete", {"name": product}, "DELETE")
        assert answer.status_code == 403
    refused(registry.post(registry.admin, delete, two, "DELETE"), "holds champion and is never deleted")
    answer = registry.post(registry.admin, "/api/2.0/mlflow/registered-models/delete", {"name": product}, "DELETE")
    refused(answer, "holds champion")
    rename = {"name": product, "new_name": f"{product}-old"}
    refused(registry.post(registry.admin, "/api/2.0/mlflow/registered-models/rename", rename), "nobody may rename")
    with registry.vic.client() as client:
        experiment = client.get_run(version.run_id).info.experiment_id
    answer = registry.post(registry.admin, "/api/2.0/mlflow/experiments/delete", {"experiment_id": experiment})
    refused(answer, "is kept")
    assert registry.post(registry.admin, delete, one, "DELETE").status_code == 200


def test_registering_by_hand(registry: Registry, unsigned: Version) -> None:
    product, create = unsigned.product, "/api/2.0/mlflow/model-versions/create"
    tags = [{"key": key, "value": value} for key, value in unsigned.tags.items()]
    body = {"name": product, "source": f"models:/{unsigned.model_id}", "run_id": unsigned.run_id, "tags": tags}
    body["model_id"] = unsigned.model_id
    for name in ("admin", "promoter", "ana", "vic", "bare"):
        refused(registry.post(who(registry, name), create, body), "only role trainer")
    refused(registry.post(registry.trainer, create, body), "a model is registered once")

    def with_tags(**changes: str) -> dict[str, Any]:
        changed = {key.replace("_", "."): value for key, value in changes.items()}
        return body | {"tags": [{"key": k, "value": v} for k, v in {**unsigned.tags, **changed}.items()]}

    other = {"changeover_digest": "1" * 64}
    refused(registry.post(registry.trainer, create, with_tags(**other, qa="approved")), "is pending, not 'approved'")
    refused(registry.post(registry.trainer, create, with_tags(**other, qa_by="ana")), "may not carry tag 'qa.by'")
    refused(registry.post(registry.trainer, create, with_tags(changeover_digest="short")), "is no sha256")
    refused(registry.post(registry.trainer, create, with_tags(**other, changeover_gates="ok")), "says nothing about the gates")
    refused(registry.post(registry.trainer, create, body | {"tags": []}), "needs tags changeover.batch")
    refused(registry.post(registry.trainer, create, body | {"source": "file:///etc"}), "is no logged model")
    refused(registry.post(registry.trainer, create, body | {"source": f"models:/{product}/1"}), "is no logged model")
    for name in ("Bolt", "a b", "../x"):
        answer = registry.post(registry.trainer, "/api/2.0/mlflow/registered-models/create", {"name": name})
        refused(answer, "cannot name a product")
    prompt = {"name": "p", "tags": [{"key": "mlflow.prompt.is_prompt", "value": "true"}]}
    refused(registry.post(registry.trainer, "/api/2.0/mlflow/registered-models/create", prompt), "may not carry tag")
    mark = {"name": product, "key": "mlflow.prompt.is_prompt", "value": "true"}
    refused(registry.post(registry.admin, "/api/2.0/mlflow/registered-models/set-tag", mark), "steers MLflow itself")


def test_spellings_that_could_slip_past(registry: Registry, unsigned: Version) -> None:
    """Double encoding, conflicting spellings, other paths to the same handler."""
    import json

    body = {"name": unsigned.product, "version": "1", "key": "qa", "value": "approved"}
    for path in ("/api/2.0/mlflow/model-versions/set-tag", "/ajax-api/2.0/mlflow/model-versions/set-tag"):
        refused(registry.post(registry.trainer, path, body), "only role qa")
        assert registry.post(registry.trainer, path, json.dumps(body)).status_code in (400, 403)
        for spelled in (path.replace("/mlflow/", "//mlflow/"), f"{path}/", path.replace("set-tag", "%73et-tag")):
            assert registry.post(registry.trainer, spelled, body).status_code in (308, 400, 403, 404, 405)
    for number in ("01", " 1", "1 ", "１"):
        answer = registry.set_tag(registry.trainer, unsigned.product, number, "qa", "approved")
        assert answer.status_code in (400, 403, 404), answer.text
    assert version_of(registry.vic, unsigned.product, "1").qa == "pending"
    mutation = {"query": 'mutation { testMutation(inputString: "x") { output } }'}
    assert registry.post(registry.vic, "/graphql", mutation).status_code in (200, 400)


def test_pages_of_other_servers_change_nothing(registry: Registry, unsigned: Version) -> None:
    """MLflow allows any page of this machine to send requests with a visitor's password."""
    import httpx

    body = {"name": unsigned.product, "version": "1", "key": "qa.reason", "value": "x"}
    path = f"{registry.url}/ajax-api/2.0/mlflow/model-versions/set-tag"
    for origin in ("http://localhost:4200", "null", "http://evil.example"):
        headers = {"Origin": origin}
        answer = httpx.post(path, json=body, auth=(registry.ana.user, registry.ana.password), headers=headers)
        assert answer.status_code == 403
    own = {"Origin": registry.url}
    assert httpx.post(path, json=body, auth=(registry.ana.user, registry.ana.password), headers=own).status_code == 200


def test_without_a_user_nothing_is_read_or_written(registry: Registry, unsigned: Version) -> None:
    assert registry.set_tag(None, unsigned.product, "1", "qa", "approved").status_code == 401
    stranger = Connection(registry.url, "ana", "wrong password")
    assert registry.set_tag(stranger, unsigned.product, "1", "qa", "approved").status_code == 401
    for path in ("/changeover/health", "/changeover/events", "/", "/api/2.0/mlflow/registered-models/search"):
        assert registry.post(None, path, None, "GET").status_code == 401
    assert registry.post(None, "/changeover/events", {"action": "keep", "product": unsigned.product}).status_code == 401


def test_administration_is_the_admins(registry: Registry) -> None:
    for name in ("trainer", "promoter", "ana", "vic", "bare"):
        user = {"username": f"by-{name}", "password": "a long password"}
        refused(registry.post(who(registry, name), "/api/2.0/mlflow/users/create", user), "only role admin")
        grant = {"username": name, "is_admin": True}
        refused(registry.post(who(registry, name), "/api/2.0/mlflow/users/update-admin", grant, "PATCH"), "only role admin")
        hook = {"name": "h", "url": "http://127.0.0.1:9/", "events": []}
        refused(registry.post(who(registry, name), "/api/2.0/mlflow/webhooks", hook), "only role admin")
    text = (registry.database).read_bytes()
    assert b"a long password" not in text


def test_every_attempt_is_in_the_trail(registry: Registry, version: Version) -> None:
    product = version.product
    registry.set_tag(registry.trainer, product, "1", "qa", "approved")
    registry.set_tag(None, product, "1", "qa", "approved")
    registry.set_tag(registry.vic, product, "1", "qa.by", "ana")
    registry.set_alias(registry.ana, product, "1", "champion")
    sign_off(registry.ana, product, "1", "approved", "fine\ud800\0".encode("utf-8", "replace").decode())
    promote(registry.promoter, product)
    registry.set_tag(registry.ana, product, "7", "qa", "approved")
    events = [(one.actor, one.action, one.subject, one.after, one.allowed) for one in recorded(registry.vic, product)]
    life = version.tags["changeover.life"]
    assert events == [
        ("trainer", "model.create", "", "", True),
        ("trainer", "register", life, f"models:/{version.model_id}", True),
        ("trainer", "alias.set", "candidate", "1", True),
        ("trainer", "tag.set", "qa", "approved", False),
        ("vic", "tag.set", "qa.by", "ana", False),
        ("ana", "alias.set", "champion", "1", False),
        ("ana", "tag.set", "qa.reason", "fine?\\0", True),
        ("ana", "tag.set", "qa", "approved", True),
        ("promoter", "alias.set", "champion", "1", True),
        ("promoter", "alias.delete", "candidate", "", True),
    ]
    signed = recorded(registry.vic, product)[7]
    assert (signed.before, signed.version, signed.digest) == ("pending", "1", version.digest)
    assert (signed.reason, signed.address) == ("fine?\\0", "127.0.0.1")
    others = recorded(registry.vic)
    assert any(one.actor == "(unauthenticated)" and "set-tag" in one.action and not one.allowed for one in others)
    assert any("version=7" in one.reason for one in others)
    assert verify(registry.database) == []
    assert [one.seq for one in read_events(registry.database)] == list(range(1, len(others) + 1))


def test_services_report_what_they_decide(registry: Registry, product: str) -> None:
    kept = record(registry.trainer, "keep", product, reason="the champion still fits")
    assert (kept.actor, kept.action, kept.allowed) == ("trainer", "keep", True)
    assert record(registry.promoter, "publish", product, version="3").version == "3"
    for who_asks, action in ((registry.promoter, "keep"), (registry.trainer, "publish"), (registry.ana, "keep")):
        with pytest.raises(Refused, match="may not record"):
            record(who_asks, action, product)
    for action in ("register", "tag.set", ""):
        with pytest.raises(Refused, match="send a JSON object"):
            record(registry.trainer, action, product)
    assert registry.post(registry.trainer, "/changeover/events", [1]).status_code == 400
    forged = {"action": "keep", "product": product, "actor": "ana"}
    assert registry.post(registry.trainer, "/changeover/events", forged).status_code == 400
    with pytest.raises(Refused, match="cannot name a product"):
        record(registry.trainer, "keep", "../etc")
    assert [one.allowed for one in recorded(registry.vic, product)] == [True, True, False, False, False]


def test_health_says_who_asks(registry: Registry) -> None:
    found = registry.ana.check()
    assert (found["status"], found["user"], found["roles"]) == ("ok", "ana", ["qa"])
    assert registry.bare.check()["roles"] == []
    assert registry.admin.check()["roles"] == ["admin"]


def test_a_viewer_writes_nowhere(registry: Registry) -> None:
    """Every writing route that MLflow has, those of tomorrow included: what the gate does not know is the administrators'."""
    from mlflow.server.handlers import get_endpoints

    routes = {(method, path) for path, _, methods in get_endpoints() for method in methods if method != "GET"}
    users = ("users/create", "users/update-admin", "users/delete", "users/permissions/grant", "users/permissions/revoke")
    roles = ("roles/create", "roles/update", "roles/delete", "roles/assign", "roles/permissions/add", "roles/permissions/update")
    routes |= {
        (method, f"/{prefix}/{number}/mlflow/{path}")
        for path in (*users, *roles, "upload-artifact")
        for prefix in ("api", "ajax-api")
        for number in ("2.0", "3.0")
        for method in ("POST", "PATCH", "DELETE")
    }
    native = ("/ajax-api/3.0/jobs/", "/ajax-api/3.0/mlflow/assistant/message", "/api/3.0/mlflow/mcp-servers", "/v1/traces")
    routes |= {("POST", path) for path in native}
    assert len(routes) > 200
    ones = {"<path:artifact_path>": "1/x", "<model_id>": "m-1", "<tag_key>": "k"}
    done = []
    for method, path in sorted(routes):
        for placeholder, value in ones.items():
            path = path.replace(placeholder, value)  # noqa: PLW2901
        answer = registry.post(registry.vic, re.sub(r"<[^>]+>", "1", path), {}, method)
        if answer.status_code < 400:
            done.append(re.sub(r"^/(ajax-)?api/\d\.\d/", "", path))
    # These only read, though they are asked with POST.
    reads = r"/graphql|mlflow/(.*/search|registered-models/get-latest-versions|traces/(batchGetInfos|metrics)|ui-telemetry)"
    assert [path for path in done if re.fullmatch(reads, path) is None] == []
