"""The attack list, continued: whoever gives accounts and roles away wants to sign, or to change what was signed.

On a server of its own: accounts are reset here, and log-ins fail.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from registry.client.connection import Connection
from registry.client.flags import confirm, open_flags
from registry.client.promote import promote
from registry.client.sign_off import sign_off, status
from registry.client.users import add_user, change_password
from registry.client.versions import Version, register, version_of
from registry.errors import Refused
from registry.trail.audit import read_events, verify

from .conftest import PASSWORD, Registry, add_person, request_for, running, vouch

pytestmark = pytest.mark.servers
ASSIGN = "/api/3.0/mlflow/roles/assign"
_NUMBERS = count(1)


@dataclass(frozen=True)
class Plant:
    """A server, where ana and bo vouched for each other, and a second administrator."""

    registry: Registry
    second: Connection
    folder: Path

    def version(self, *, passed: bool = True) -> Version:
        """Of a product of its own."""
        number = next(_NUMBERS)
        request = request_for(self.folder, f"admin-{number}", "a", passed=passed, threshold=0.3 + number / 1000)
        return register(self.registry.trainer, request)

    def role(self, name: str) -> int:
        path = "/api/3.0/mlflow/roles/list"
        roles = self.registry.admin.call("GET", path, params={"workspace": "default"})["roles"]
        return next(int(role["id"]) for role in roles if role["name"] == name)

    def become(self, name: str) -> Connection:
        """What an administrator does who wants to sign as ``name``: sets the password, logs in, changes it."""
        body = {"username": name, "password": "chosen by the admin"}
        assert self.registry.post(self.registry.admin, "/api/2.0/mlflow/users/update-password", body, "PATCH").status_code == 200
        return change_password(Connection(self.registry.url, name, "chosen by the admin"), PASSWORD)

    def flags(self, product: str) -> list[tuple[str, str]]:
        return [(flag.action, flag.subject) for flag in open_flags(self.registry.vic) if flag.product == product]


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    folder = tmp_path_factory.mktemp("administrators")
    with running(folder / "state") as registry:
        vouch(registry, folder)
        add_user(registry.admin, "second", PASSWORD, "admin")
        yield Plant(registry, Connection(registry.url, "second", PASSWORD), folder)


@pytest.mark.parametrize("spelt", [" {}", "{} ", "+{}", "0{}", "\t{}", "\n{}", "{}.0", "00{}", "\uff0b{}"], ids=ascii)
@pytest.mark.parametrize(
    ("deed", "more"),
    [("update", {"new_name": "renamed"}), ("delete", {}), ("restore", {}), ("set-experiment-tag", {"key": "a", "value": "b"}),
     ("delete-experiment-tag", {"key": "a"})],
)  # fmt: skip
def test_an_experiment_is_kept_however_its_number_is_spelt(plant: Plant, spelt: str, deed: str, more: dict[str, str]) -> None:
    registry = plant.registry
    version = kept(plant)
    with registry.vic.client() as client:
        experiment = client.get_run(version.run_id).info.experiment_id
    body = {"experiment_id": spelt.format(experiment), **more}
    for prefix in ("api", "ajax-api"):
        answer = registry.post(registry.admin, f"/{prefix}/2.0/mlflow/experiments/{deed}", body)
        assert answer.status_code in (400, 403, 404), answer.text
    with registry.vic.client() as client:
        found = client.get_experiment(experiment)
        assert (found.name, found.lifecycle_stage, "a" in found.tags) == (version.product, "active", False)


_KEPT: list[Version] = []


def kept(plant: Plant) -> Version:
    """One version for all tests that only meet refusals."""
    if not _KEPT:
        _KEPT.append(plant.version())
    return _KEPT[0]


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/ajax-api/3.0/mlflow/assistant/config"), ("POST", "/ajax-api/3.0/mlflow/assistant/message"),
     ("GET", "/ajax-api/3.0/mlflow/assistant/sessions/x/stream"), ("POST", "/ajax-api/3.0/mlflow/assistant/skills/install"),
     ("GET", "/ajax-api/3.0/mlflow/assistant/providers/claude_code/health"),
     ("POST", "/ajax-api/3.0/mlflow/assistant/sessions/x/tool-result"), ("POST", "/gateway/proxy/x/search"),
     ("PATCH", "/ajax-api/3.0/jobs/cancel/search"), ("POST", "/ajax-api/3.0/jobs/"),
     ("POST", "/gateway/openai/v1/chat/completions"), ("POST", "/gateway/x/mlflow/invocations"),
     ("GET", "/ajax-api/3.0/mlflow/gateway/supported-models"), ("POST", "/api/3.0/mlflow/gateway/secrets/create"),
     ("POST", "/ajax-api/2.0/mlflow/gateway-proxy"), ("GET", "/ajax-api/2.0/mlflow/gateway-proxy")],
)  # fmt: skip
def test_the_server_is_no_shell_and_reaches_nowhere(plant: Plant, method: str, path: str) -> None:
    for who in (plant.registry.admin, plant.registry.vic):
        before = len(read_events(plant.registry.database))
        answer = plant.registry.http.request(
            method, plant.registry.url + path, json={} if method != "GET" else None, auth=(who.user, who.password)
        )
        assert answer.status_code == 403 and "is closed on this server" in answer.text, answer.text
        assert method == "GET" or len(read_events(plant.registry.database)) > before


@pytest.mark.parametrize("path", ["mlflow/mcp-servers/search", "mlflow/mcp-servers/x/versions/search"])
@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_what_only_ends_like_a_search_is_none(plant: Plant, method: str, path: str) -> None:
    before = len(read_events(plant.registry.database))
    answer = plant.registry.post(plant.registry.vic, f"/ajax-api/3.0/{path}", {}, method)
    assert answer.status_code == 403 and "only role admin" in answer.json()["message"]
    assert len(read_events(plant.registry.database)) == before + 1


@pytest.mark.parametrize("name", ["admin", "trainer", "promoter"])
def test_the_plants_own_accounts_become_no_signers(plant: Plant, name: str) -> None:
    for who in (plant.registry.admin, plant.second):
        answer = plant.registry.post(who, ASSIGN, {"username": name, "role_id": plant.role("qa")})
        assert answer.status_code == 403 and "signs nothing" in answer.json()["message"]


def test_an_administrator_makes_no_signer_of_themselves_and_hands_the_administration_on(plant: Plant) -> None:
    answer = plant.registry.post(plant.second, ASSIGN, {"username": "second", "role_id": plant.role("qa")})
    assert answer.status_code == 403 and "nobody makes themselves a signer" in answer.json()["message"]
    zed = Connection(plant.registry.url, "zed", PASSWORD)
    add_user(plant.registry.admin, "zed", PASSWORD, "admin")
    plant.second.call("POST", ASSIGN, json={"username": "zed", "role_id": plant.role("qa")})
    version = plant.version()
    with pytest.raises(Refused, match="administers the registry"):
        sign_off(zed, version.product, "1", "approved", "x")
    zed.call("PATCH", "/api/2.0/mlflow/users/update-admin", json={"username": "zed", "is_admin": False})
    with pytest.raises(Refused, match="was set by 'admin'"):
        sign_off(zed, version.product, "1", "approved", "x")
    zed = change_password(zed, "known to zed alone")
    sign_off(zed, version.product, "1", "approved", "x")
    assert plant.flags(version.product) == [("signature.flagged", "zed")]


@pytest.mark.parametrize(
    "role", ["qa ", "QA", " qa", "Qa", "\uff51\uff41", "q\u0430", "qa\u200b", "admin", "promoter", "trainer"], ids=ascii
)
@pytest.mark.parametrize("workspace", ["default", "elsewhere"])
def test_a_role_that_looks_like_ours_gives_nothing(plant: Plant, role: str, workspace: str) -> None:
    registry = plant.registry
    answer = registry.post(registry.admin, "/api/3.0/mlflow/roles/create", {"name": role, "workspace": workspace})
    assert answer.status_code in (200, 400, 403), answer.text
    if answer.status_code != 200:
        return
    made = answer.json()["role"]["id"]
    registry.post(registry.admin, ASSIGN, {"username": "vic", "role_id": made})
    try:
        assert registry.vic.check()["roles"] == ["viewer"]
        with pytest.raises(Refused, match="only role qa"):
            sign_off(registry.vic, kept(plant).product, "1", "approved", "x")
    finally:
        registry.post(registry.admin, "/api/3.0/mlflow/roles/delete", {"role_id": made}, "DELETE")


@pytest.mark.parametrize("resource", ["registered_model", "registered_model_version", "experiment", "workspace", "*"])
@pytest.mark.parametrize("permission", ["MANAGE", "EDIT"])
def test_permissions_of_mlflow_do_not_replace_a_role(plant: Plant, resource: str, permission: str) -> None:
    registry, version = plant.registry, kept(plant)
    known = (resource, permission) != ("workspace", "EDIT")  # MLflow has none of that
    path, viewer = "/api/3.0/mlflow/roles/permissions", plant.role("viewer")
    body = {"role_id": viewer, "resource_type": resource, "resource_pattern": "*", "permission": permission}
    registry.post(registry.admin, f"{path}/add", body)
    held = registry.admin.call("GET", f"{path}/list", params={"role_id": viewer})["role_permissions"]
    for one in held:
        # The role had less before.
        if one["resource_type"] == resource and known:
            change = {"role_permission_id": one["id"], "permission": permission}
            assert registry.post(registry.admin, f"{path}/update", change, "PATCH").status_code == 200
    assert resource == "*" or not known or resource in {one["resource_type"] for one in held}, "MLflow knows no such resource"
    for key, value in (("qa.reason", "x"), ("qa", "approved"), ("qa", "rejected"), ("changeover.gates", "passed"), ("free", "x")):
        assert registry.set_tag(registry.vic, version.product, "1", key, value).status_code == 403
    for alias in ("champion", "candidate", "previous"):
        assert registry.set_alias(registry.vic, version.product, "1", alias).status_code == 403
    for path in ("model-versions/delete", "registered-models/delete"):
        body = {"name": version.product, "version": "1"}
        assert registry.post(registry.vic, f"/api/2.0/mlflow/{path}", body, "DELETE").status_code == 403


@pytest.mark.parametrize("name", ["trainer", "promoter"])
@pytest.mark.parametrize("value", [True, 1, "true", [1]])
def test_services_become_no_administrators(plant: Plant, name: str, value: Any) -> None:
    body = {"username": name, "is_admin": value}
    assert plant.registry.post(plant.registry.admin, "/api/2.0/mlflow/users/update-admin", body, "PATCH").status_code in (
        400,
        403,
    )
    assert "admin" not in getattr(plant.registry, name).check()["roles"]


@pytest.mark.parametrize(
    "url", ["http://user:hunter2@127.0.0.1:1/x", "http://127.0.0.1:1/x?token=hunter2", "http://127.0.0.1:1/?a=b&api_key=hunter2",
            "http://127.0.0.1:1/?sig=hunter2&a=b"]
)  # fmt: skip
def test_the_trail_tells_a_webhooks_address_without_its_secrets(plant: Plant, url: str) -> None:
    body = {"name": "hook", "url": url, "secret": "hunter2", "events": [{"entity": "MODEL_VERSION_TAG", "action": "SET"}]}
    plant.registry.post(plant.registry.admin, "/api/2.0/mlflow/webhooks", body)
    last = [event for event in read_events(plant.registry.database) if event.action == "administer"][-1]
    assert "127.0.0.1:1/" in last.after and "hunter2" not in last.after
    assert "hunter2" not in "".join(event.model_dump_json() for event in read_events(plant.registry.database))


def test_an_old_signature_that_is_confirmed_vouches_for_no_new_log_in(plant: Plant) -> None:
    registry, first, second = plant.registry, plant.version(), plant.version()
    gil = add_person(registry.admin, "gil", "qa")
    sign_off(gil, first.product, "1", "approved", "really by gil")
    (flag,) = (one for one in open_flags(registry.vic) if one.product == first.product)
    as_gil = plant.become("gil")
    confirm(registry.bo, flag.seq, "I saw gil sign, before the reset")
    sign_off(as_gil, second.product, "1", "approved", "by the administrator")
    assert plant.flags(second.product) == [("signature.flagged", "gil")]


@pytest.mark.parametrize("deed", ["waived", "approved", "rejected", "withdrawn", "rolled back"])
@pytest.mark.parametrize("way", ["terminal", "tag"])
def test_all_that_a_reset_account_decides_is_flagged(plant: Plant, deed: str, way: str) -> None:
    registry, version = plant.registry, plant.version(passed=deed != "waived")
    product = version.product
    name = f"person{next(_NUMBERS)}"
    add_person(registry.admin, name, "qa")
    decision = {"waived": "waived", "approved": "approved", "rejected": "rejected", "withdrawn": "pending"}.get(deed)
    if deed in ("withdrawn", "rolled back"):
        sign_off(registry.ana, product, "1", "approved", "fine")
        promote(registry.promoter, product)
    if deed == "rolled back":
        request = request_for(plant.folder, product, "b", threshold=0.9 + next(_NUMBERS) / 10_000)
        register(registry.trainer, request)
        sign_off(registry.ana, product, "2", "approved", "fine")
        promote(registry.promoter, product)
    as_them = plant.become(name)
    if decision is None:
        body = {"product": product, "reason": "by the administrator"}
        assert registry.post(as_them, "/changeover/roll-back", body).status_code == 200
    elif way == "terminal":
        sign_off(as_them, product, "1", decision, "by the administrator")
    else:
        key, value = ("qa.waiver", "x") if decision == "waived" else ("qa", decision)
        registry.set_tag(as_them, product, "1", "qa.reason", "by the administrator")
        assert registry.set_tag(as_them, product, "1", key, value).status_code == 200
    assert plant.flags(product) == [("signature.flagged", name)]


def test_an_emergency_is_confirmed_by_nobody_whom_an_administrator_just_made(plant: Plant) -> None:
    registry, version = plant.registry, plant.version()
    product = version.product
    sign_off(registry.ana, product, "1", "approved", "fine")
    promote(registry.promoter, product)
    register(registry.trainer, request_for(plant.folder, product, "b", threshold=0.95))
    sign_off(registry.ana, product, "2", "approved", "fine")
    promote(registry.promoter, product)
    body = {"product": product, "reason": "line down", "emergency": True}
    assert registry.post(registry.promoter, "/changeover/roll-back", body).status_code == 200
    (flag,) = (one for one in open_flags(registry.vic) if (one.product, one.subject) == (product, "emergency"))
    with pytest.raises(Refused, match="nobody has confirmed since"):
        confirm(add_person(registry.admin, "hired", "qa"), flag.seq, "all is well")
    confirm(registry.bo, flag.seq, "I looked")


def test_whoever_resets_every_signer_does_not_begin_anew(plant: Plant) -> None:
    """The last of these tests: afterwards nobody of this plant is vouched for."""
    registry, version = plant.registry, plant.version()
    ana, bo = plant.become("ana"), plant.become("bo")
    made = add_person(registry.admin, "made", "qa")
    for name in ("gil", "zed"):
        registry.post(registry.admin, "/api/3.0/mlflow/roles/unassign", {"username": name, "role_id": plant.role("qa")}, "DELETE")
    sign_off(ana, version.product, "1", "approved", "by the administrator")
    (flag,) = (one for one in open_flags(registry.vic) if one.product == version.product)
    for who in (bo, made):
        with pytest.raises(Refused, match="nobody has confirmed since"):
            confirm(who, flag.seq, "by the administrator as well")
    with pytest.raises(Refused, match="another person"):
        confirm(ana, flag.seq, "by the administrator as well")
    assert plant.flags(version.product) == [("signature.flagged", "ana")]
    body = {"username": "bo"}
    assert registry.post(registry.admin, "/api/2.0/mlflow/users/delete", body, "DELETE").status_code == 200
    with pytest.raises(Refused, match="was deleted"):
        add_user(registry.admin, "BO", PASSWORD, "qa")


def test_after_all_this_the_trail_holds(plant: Plant) -> None:
    assert verify(plant.registry.database) == []
    assert version_of(plant.registry.vic, kept(plant).product, "1").qa == "pending"
    assert not status(plant.registry.vic, kept(plant).product, "1").valid
