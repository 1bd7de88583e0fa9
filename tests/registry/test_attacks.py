"""The attack list: ways round the sign-off, each tried at a real server. None may succeed.

Who may do what through the plain routes is in test_gate.py; here are those who try to be clever.
"""

import json
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import pytest

from registry.client.promote import promote
from registry.client.sign_off import sign_off, status
from registry.client.versions import Registration, Version, register, version_of, versions
from registry.errors import Refused
from registry.rules.rules import record_digest
from registry.trail.audit import read_events, verify

from .conftest import PASSWORD, Registry, add_person, other_model

pytestmark = pytest.mark.servers
Make = Callable[..., Registration]
EVERYBODY = ("admin", "trainer", "promoter", "ana", "bo", "vic", "bare", None)
SET_TAG = "/api/2.0/mlflow/model-versions/set-tag"


@pytest.fixture
def version(registry: Registry, make_request: Make) -> Version:
    """A candidate that nobody has signed."""
    return register(registry.trainer, make_request())


def fields(registry: Registry, version: Version) -> tuple[dict[str, str], tuple[str, ...]]:
    now = version_of(registry.vic, version.product, version.version)
    return now.tags, now.aliases


ROUTES = [
    ("POST", "model-versions/set-tag", {"key": "qa", "value": "approved"}),
    ("POST", "model-versions/set-tag", {"key": "qa.by", "value": "ana"}),
    ("POST", "model-versions/set-tag", {"key": "qa.record", "value": "0" * 64}),
    ("POST", "model-versions/set-tag", {"key": "qa.waiver.by", "value": "bo"}),
    ("POST", "model-versions/set-tag", {"key": "changeover.threshold", "value": "99"}),
    ("POST", "model-versions/set-tag", {"key": "changeover.gates", "value": "passed"}),
    ("DELETE", "model-versions/delete-tag", {"key": "changeover.gates"}),
    ("PATCH", "model-versions/update", {"description": "approved by ana"}),
    ("POST", "model-versions/transition-stage", {"stage": "Production", "archive_existing_versions": True}),
    ("POST", "registered-models/alias", {"alias": "champion"}),
    ("POST", "registered-models/alias", {"alias": "previous"}),
    ("POST", "registered-models/alias", {"alias": "Champion"}),
    ("POST", "registered-models/rename", {"new_name": "../other"}),
    ("POST", "registered-models/set-tag", {"key": "mlflow.prompt.is_prompt", "value": "true"}),
]


@pytest.mark.parametrize("prefix", ["api", "ajax-api"])
@pytest.mark.parametrize(("method", "path", "more"), ROUTES, ids=[f"{m}-{p}-{next(iter(v.values()))}" for m, p, v in ROUTES])
def test_no_role_changes_an_unsigned_version_by_any_route(
    registry: Registry, unsigned: Version, method: str, path: str, more: dict[str, object], prefix: str
) -> None:
    body = {"name": unsigned.product, "version": unsigned.version, **more}
    before = fields(registry, unsigned)
    for name in EVERYBODY if prefix == "api" else ("admin", "trainer", "promoter", "ana"):
        who = None if name is None else getattr(registry, name)
        answer = registry.post(who, f"/{prefix}/2.0/mlflow/{path}", body, method)
        assert answer.status_code in (400, 401, 403, 404), (name, answer.text)
    assert fields(registry, unsigned) == before


@pytest.fixture(scope="module")
def unsigned(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Version:
    """A candidate without even a reason, so that nobody may approve it."""
    from .conftest import request_for

    return register(registry.trainer, request_for(tmp_path_factory.mktemp("attacked"), "attacked-1", "a"))


@pytest.mark.parametrize(
    "path",
    ["/graphql", "/api/2.0/mlflow/webhooks", "/api/3.0/mlflow/roles/assign", "/api/2.0/mlflow/users/update-admin",
     "/api/2.0/mlflow/experiments/delete", "/api/2.0/mlflow/gateway-proxy", "/api/2.0/mlflow/no-such-thing"],
)  # fmt: skip
def test_routes_beside_the_registry_change_nothing_for_people(registry: Registry, unsigned: Version, path: str) -> None:
    before = fields(registry, unsigned)
    body = {
        "query": "mutation { mlflowSetModelVersionTag }",
        "username": "vic",
        "is_admin": True,
        "role_id": 1,
        "experiment_id": "1",
    }
    for name in ("ana", "vic", "bare", "promoter"):
        answer = registry.post(getattr(registry, name), path, body)
        assert answer.status_code >= 400 or "errors" in answer.json() or answer.json() == {"data": None}, (name, answer.text)
    assert fields(registry, unsigned) == before


def test_stamps_written_into_the_database_promote_nothing(registry: Registry, version: Version) -> None:
    """An administrator of the machine forges every tag of an approval; the trail holds none."""
    tags = {**version.tags, "qa": "approved", "qa.reason": "forged"}
    tags |= {"qa.by": "ana", "qa.at": "2026-11-21T10:00:00+00:00", "qa.digest": version.digest}
    tags["qa.record"] = record_digest(tags)
    with sqlite3.connect(registry.database) as database:
        for key, value in tags.items():
            database.execute(
                "INSERT OR REPLACE INTO model_version_tags (key, value, name, version) VALUES (?, ?, ?, ?)",
                (key, value, version.product, 1),
            )
    assert status(registry.vic, version.product, "1").valid, "the tags alone look right"
    with pytest.raises(Refused, match="the audit trail holds no approval"):
        promote(registry.promoter, version.product)


@pytest.mark.parametrize(
    ("key", "value"), [("changeover.threshold", "99.0"), ("changeover.gates", "failed"), ("qa.reason", "other")]
)
def test_what_was_signed_cannot_be_changed_under_the_signature(
    registry: Registry, version: Version, key: str, value: str
) -> None:
    assert sign_off(registry.ana, version.product, "1", "approved", "fine").valid
    with sqlite3.connect(registry.database) as database:
        database.execute(
            "UPDATE model_version_tags SET value = ? WHERE name = ? AND version = 1 AND key = ?", (value, version.product, key)
        )
    with pytest.raises(Refused, match=r"is not what was signed"):
        promote(registry.promoter, version.product)


def test_the_model_file_exchanged_after_approval(registry: Registry, version: Version) -> None:
    assert sign_off(registry.ana, version.product, "1", "approved", "fine").valid
    registry.model_file(version.model_id).write_bytes(b"another model")
    with pytest.raises(Refused, match="was exchanged"):
        promote(registry.promoter, version.product)


def test_the_report_exchanged_after_approval(registry: Registry, version: Version) -> None:
    assert sign_off(registry.ana, version.product, "1", "approved", "fine").valid
    (report,) = registry.state.glob(f"artifacts/*/{version.run_id}/artifacts/report.html")
    report.write_text("<h1>all is well</h1>")
    with pytest.raises(Refused, match=r"report .* was exchanged"):
        promote(registry.promoter, version.product)


def test_deleting_the_tag_after_approval_withdraws_it(registry: Registry, version: Version) -> None:
    sign_off(registry.ana, version.product, "1", "approved", "fine")
    body = {"name": version.product, "version": "1", "key": "qa"}
    assert registry.post(registry.bo, "/api/2.0/mlflow/model-versions/delete-tag", body, "DELETE").status_code == 200
    with pytest.raises(Refused, match="pending, not approved"):
        promote(registry.promoter, version.product)


def test_a_deleted_number_given_out_again_inherits_nothing(registry: Registry, version: Version, make_request: Make) -> None:
    sign_off(registry.ana, version.product, "1", "approved", "fine")
    body = {"name": version.product, "version": "1"}
    assert registry.post(registry.admin, "/api/2.0/mlflow/model-versions/delete", body, "DELETE").status_code == 200
    again = register(registry.trainer, other_model(make_request("c"), 0.7))
    assert again.qa == "pending" and not status(registry.vic, again.product, again.version).valid
    with pytest.raises(Refused, match="pending, not approved"):
        promote(registry.promoter, again.product)


def test_a_rejected_model_does_not_come_back_under_another_batch_or_after_deletion(
    registry: Registry, version: Version, make_request: Make
) -> None:
    sign_off(registry.ana, version.product, "1", "rejected", "misses chips")
    body = {"name": version.product}
    assert registry.post(registry.admin, "/api/2.0/mlflow/registered-models/delete", body, "DELETE").status_code == 200
    request = make_request("z")
    first = make_request()  # the rejected batch's files, written again
    with pytest.raises(Refused, match="a rejection is final"):
        register(registry.trainer, first)
    (request.folder / "model.onnx").write_bytes((first.folder / "model.onnx").read_bytes())
    metrics = {**request.metrics, "model_digest": version.digest}
    with pytest.raises(Refused, match="a rejection is final"):
        register(registry.trainer, replace(request, metrics=metrics))


def test_two_people_deciding_at_once_leave_one_decision(registry: Registry, version: Version) -> None:
    def decide(number: int) -> tuple[int, bool]:
        who, value = ((registry.ana, "approved"), (registry.bo, "rejected"))[number % 2]
        body = {"product": version.product, "version": "1", "decision": value, "reason": f"as {who.user} sees it",
                "password": PASSWORD, "way": "terminal"}  # fmt: skip
        answer = registry.post(who, "/changeover/sign", body)
        return answer.status_code, answer.json().get("changed", False)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(decide, range(16)))
    assert {code for code, _ in answers} <= {200, 403}
    tags = version_of(registry.vic, version.product, "1").tags
    decided = [e for e in read_events(registry.database, version.product) if e.subject == "qa" and e.allowed]
    assert len(decided) == sum(changed for _, changed in answers) == 1, "the second has to withdraw the first one's before"
    signer, words = (("ana", "approved"), ("bo", "rejected"))[decided[0].actor == "bo"]
    assert (tags["qa"], tags["qa.by"], tags["qa.reason"]) == (words, signer, f"as {signer} sees it")
    assert not verify(registry.database)


@pytest.mark.parametrize(
    "path",
    ["../{other}/artifacts/model.onnx", "%2e%2e/{other}/x", "..%2f{other}/x", "./x", "//x", "x/../../{run}/artifacts/report.html",
     "\\..\\x", "x%00.png", "x%0a.png", ""],
)  # fmt: skip
def test_path_tricks_write_nothing_into_a_registered_run(registry: Registry, unsigned: Version, path: str) -> None:
    run = unsigned.run_id
    before = {file: file.read_bytes() for file in registry.state.glob(f"artifacts/*/{run}/**/*") if file.is_file()}
    named = path.format(other=run, run=run)
    for prefix in ("api", "ajax-api"):
        url = f"{registry.url}/{prefix}/2.0/mlflow-artifacts/artifacts/1/{'0' * 32}/artifacts/{named}"
        for who in (registry.trainer, registry.ana):
            answer = registry.http.put(url, content=b"x", auth=(who.user, who.password))
            if named not in ("x", "./x", "x\n.png"):  # these name a file of a run that nobody registered, or are refused
                assert answer.status_code >= 400, (who.user, answer.text)
    assert {file: file.read_bytes() for file in registry.state.glob(f"artifacts/*/{run}/**/*") if file.is_file()} == before


SCRIPT = "<script>document.title='stolen'</script><img src=x onerror=alert(1)>"


@pytest.mark.parametrize("key", ["qa.reason", "qa.notes", "qa.waiver"])
def test_script_in_what_people_write_stays_text(registry: Registry, make_request: Make, key: str) -> None:
    product = register(registry.trainer, make_request(passed=False)).product
    value = SCRIPT
    if key == "qa.notes":
        value = json.dumps([{"picture": "good.png", "left": 0.1, "top": 0.1, "right": 0.2, "bottom": 0.2, "text": SCRIPT}])
    assert registry.set_tag(registry.ana, product, "1", key, value).status_code == 200
    answer = registry.http.get(f"{registry.url}/changeover/review?product={product}&version=1", auth=("vic", PASSWORD))
    assert answer.status_code == 200 and "<script>document" not in answer.text and "<img src=x" not in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy


@pytest.mark.parametrize(
    "notes",
    ["[]]", "{}", '[{"picture": "../../etc/passwd", "left": 0, "top": 0, "right": 1, "bottom": 1, "text": "x"}]',
     '[{"picture": "good.png", "left": 0.5, "top": 0, "right": 0.1, "bottom": 1, "text": "x"}]',
     '[{"picture": "good.png", "left": 0, "top": 0, "right": 1e9, "bottom": 1, "text": "x"}]'],
)  # fmt: skip
def test_notes_that_are_none(registry: Registry, unsigned: Version, notes: str) -> None:
    assert registry.set_tag(registry.ana, unsigned.product, "1", "qa.notes", notes).status_code == 403


@pytest.mark.parametrize(
    "address",
    ["?product=..%2f..%2fsecrets&version=1", "?product=attacked-1&version=1%00", "?product=attacked-1&version=-1", "", "/report",
     "?product=attacked-1&version=1e1", "/of?run=..%2f..", "/report?product=attacked-1%27--&version=1", "/../../secrets"],
)  # fmt: skip
def test_addresses_of_the_review_page_lead_nowhere_else(registry: Registry, address: str) -> None:
    answer = registry.http.get(f"{registry.url}/changeover/review{address}", auth=("vic", PASSWORD))
    assert answer.status_code in (400, 403, 404) and "password" not in answer.text.lower()


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded"])
@pytest.mark.parametrize("path", [SET_TAG, "/changeover/roll-back", "/changeover/confirm", "/changeover/watch"])
def test_a_page_of_another_server_cannot_use_a_visitors_password(
    registry: Registry, unsigned: Version, content_type: str, path: str
) -> None:
    body = json.dumps({"name": unsigned.product, "version": "1", "key": "qa.reason", "value": "x", "product": unsigned.product,
                       "reason": "x", "event": 1})  # fmt: skip
    headers = {"Origin": "http://127.0.0.1:1", "Content-Type": content_type}
    before = fields(registry, unsigned)
    for who in ("ana", "promoter"):
        user = getattr(registry, who)
        answer = registry.http.post(f"{registry.url}{path}", content=body, headers=headers, auth=(user.user, user.password))
        assert answer.status_code in (400, 403, 415), answer.text
    assert fields(registry, unsigned) == before


def test_a_role_that_was_taken_away_is_gone(registry: Registry, version: Version) -> None:
    roles = registry.admin.call("GET", "/api/3.0/mlflow/roles/list", params={"workspace": "default"})["roles"]
    add_person(registry.admin, "temp.qa", "qa")
    change = {"username": "temp.qa", "role_id": next(role["id"] for role in roles if role["name"] == "qa")}
    with httpx.Client(base_url=registry.url, auth=("temp.qa", PASSWORD)) as session:
        body = {"name": version.product, "version": "1", "key": "qa.reason", "value": "seen"}
        assert session.post(SET_TAG, json=body).status_code == 200
        registry.admin.call("DELETE", "/api/3.0/mlflow/roles/unassign", json=change)
        assert session.post(SET_TAG, json=body | {"key": "qa", "value": "approved"}).status_code == 403
    assert version_of(registry.vic, version.product, "1").qa == "pending"


def test_after_all_this_the_trail_holds(registry: Registry) -> None:
    assert verify(registry.database) == []
    assert versions(registry.vic, "attacked-1")[0].aliases == ("candidate",)
