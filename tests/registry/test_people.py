"""Accounts: names at every door, passwords that somebody else set, and what is flagged until a second person confirms it."""

from collections.abc import Callable

import pytest

from registry.client.connection import Connection
from registry.client.flags import confirm, open_flags
from registry.client.sign_off import sign_off
from registry.client.users import add_user, change_password, give_name, list_users
from registry.client.versions import Registration, Version, register, version_of
from registry.errors import Refused
from registry.trail.audit import read_events

from .conftest import PASSWORD, Registry, add_person

pytestmark = pytest.mark.servers
Make = Callable[..., Registration]
CREATE = "/api/2.0/mlflow/users/create"
SET_PASSWORD = "/api/2.0/mlflow/users/update-password"


@pytest.fixture
def version(registry: Registry, make_request: Make) -> Version:
    """A candidate that nobody has signed."""
    return register(registry.trainer, make_request())


@pytest.fixture
def fay(registry: Registry) -> Connection:
    """A person of quality assurance whom no other test uses, and whose account was just made."""
    count = len(list_users(registry.admin))
    return add_person(registry.admin, f"fay{count}", "qa")


def flags_of(registry: Registry, product: str) -> list[tuple[str, str]]:
    return [(flag.action, flag.subject) for flag in open_flags(registry.vic) if flag.product == product]


@pytest.mark.parametrize(
    "name",
    ["(server)", "(unauthenticated)", "an\u200ba", "ana\n", " ana", "ana ", "ANA", "Ana", "trainer ", "", "a" * 64, "-x", "../x",
     "ана", "x\x1b[2J", "x\u202ey", ["ana"], None, 7, {"a": 1}],
)  # fmt: skip
@pytest.mark.parametrize("prefix", ["api", "ajax-api"])
def test_names_that_are_none(registry: Registry, name: object, prefix: str) -> None:
    before = {one.name for one in list_users(registry.admin)}
    body = {"username": name, "password": PASSWORD}
    answer = registry.post(registry.admin, f"/{prefix}/2.0/mlflow/users/create", body)
    assert answer.status_code in (400, 403), answer.text
    form = {"username": str(name), "password": PASSWORD, "csrf_token": "x"}
    page = registry.http.post(
        f"{registry.url}/api/2.0/mlflow/users/create-ui", data=form, auth=(registry.admin.user, registry.admin.password)
    )
    assert page.status_code in (400, 403), page.text
    assert {one.name for one in list_users(registry.admin)} == before


def test_a_deleted_users_name_is_never_given_out_again(registry: Registry) -> None:
    add_user(registry.admin, "gone", PASSWORD, "qa")
    gone = registry.post(registry.admin, "/api/2.0/mlflow/users/delete", {"username": "gone"}, "DELETE")
    assert gone.status_code == 200
    for name in ("gone", "Gone", "GONE"):
        with pytest.raises(Refused, match="was deleted"):
            add_user(registry.admin, name, PASSWORD, "qa")
    # By query string, as MLflow reads it too: recorded with whom it is about.
    add_user(registry.admin, "gone2", PASSWORD, "viewer")
    url = f"{registry.url}/api/2.0/mlflow/users/delete?username=gone2"
    assert registry.http.delete(url, auth=(registry.admin.user, registry.admin.password)).status_code == 200
    last = [event for event in read_events(registry.database) if event.action == "user.delete"][-1]
    assert (last.subject, last.actor, last.allowed) == ("gone2", "admin", True)


def test_who_got_a_password_from_an_administrator_signs_nothing(registry: Registry, version: Version, fay: Connection) -> None:
    body = {"username": fay.user, "password": "chosen by the admin"}
    assert registry.post(registry.admin, SET_PASSWORD, body, "PATCH").status_code == 200
    as_fay = Connection(registry.url, fay.user, "chosen by the admin")
    assert as_fay.check()["password_by"] == "admin"
    for decision in ("approved", "rejected", "waived"):
        with pytest.raises(Refused, match=r"was set by 'admin'|passed its gates"):
            sign_off(as_fay, version.product, "1", decision, "signed by the admin in fact")
    assert registry.set_tag(as_fay, version.product, "1", "qa.reason", "x").status_code == 403
    # An attempt to change it that fails is no change.
    wrong = {"username": fay.user, "password": "another password", "current_password": "not this one"}
    assert registry.post(as_fay, SET_PASSWORD, wrong, "PATCH").status_code == 400
    with pytest.raises(Refused, match="was set by 'admin'"):
        sign_off(as_fay, version.product, "1", "approved", "x")
    own = change_password(as_fay, "known to fay alone")
    assert own.check()["password_by"] == ""
    assert sign_off(own, version.product, "1", "approved", "mine").valid
    assert flags_of(registry, version.product) == [("signature.flagged", fay.user)]


def test_a_flagged_signature_takes_a_second_person(registry: Registry, version: Version, fay: Connection) -> None:
    sign_off(fay, version.product, "1", "approved", "fine")
    (flag,) = (one for one in open_flags(registry.vic) if one.product == version.product)
    assert "could log in as that person" in flag.reason
    for who, words in (
        (fay, "another person"),
        (registry.admin, "only role qa"),
        (registry.trainer, "only role qa"),
        (registry.vic, "only role qa"),
        (add_person(registry.admin, f"{fay.user}-twin", "qa"), "nobody has confirmed since"),
    ):
        with pytest.raises(Refused, match=words):
            confirm(who, flag.seq, "it was me, believe me")
    assert flags_of(registry, version.product) == [("signature.flagged", fay.user)]
    confirm(registry.bo, flag.seq, "I saw fay sign")
    assert flags_of(registry, version.product) == []
    sign_off(fay, version.product, "1", "pending", "once more")
    sign_off(fay, version.product, "1", "approved", "fine again")
    assert flags_of(registry, version.product) == [], "confirmed once, until somebody else sets the password again"


def test_an_administrator_who_signs(registry: Registry, version: Version, fay: Connection) -> None:
    """By giving the administrator's own account the role, or a person of quality assurance the administration."""
    role = next(
        role["id"]
        for role in registry.admin.call("GET", "/api/3.0/mlflow/roles/list", params={"workspace": "default"})["roles"]
        if role["name"] == "qa"
    )
    for name in ("admin", "trainer", "promoter"):
        with pytest.raises(Refused, match="signs nothing"):
            registry.admin.call("POST", "/api/3.0/mlflow/roles/assign", json={"username": name, "role_id": role})
    registry.admin.call("PATCH", "/api/2.0/mlflow/users/update-admin", json={"username": fay.user, "is_admin": True})
    with pytest.raises(Refused, match="administers the registry"):
        sign_off(fay, version.product, "1", "approved", "and I")
    given = [(e.action, e.subject, e.after) for e in read_events(registry.database) if e.action in ("role.assign", "user.admin")]
    assert ("role.assign", "admin", "qa") in given and ("user.admin", fay.user, "True") in given
    assert version_of(registry.vic, version.product, "1").qa == "pending"


def test_a_viewer_made_a_signer_by_an_administrator_is_flagged(registry: Registry, version: Version) -> None:
    hal = add_person(registry.admin, "hal", "viewer")
    roles = registry.admin.call("GET", "/api/3.0/mlflow/roles/list", params={"workspace": "default"})["roles"]
    role = next(role["id"] for role in roles if role["name"] == "qa")
    registry.admin.call("POST", "/api/3.0/mlflow/roles/assign", json={"username": "hal", "role_id": role})
    sign_off(hal, version.product, "1", "approved", "fine")
    assert flags_of(registry, version.product) == [("signature.flagged", "hal")]


@pytest.mark.parametrize("deed", ["create", "rename", "delete", "describe"])
@pytest.mark.parametrize("name", ["qa", "QA", " qa ", "promoter"])
def test_our_roles_stay_as_they_are(registry: Registry, deed: str, name: str) -> None:
    path = "/api/3.0/mlflow/roles"
    roles = {
        role["name"]: role["id"] for role in registry.admin.call("GET", f"{path}/list", params={"workspace": "default"})["roles"]
    }
    ours = roles[name.strip().casefold()]
    method, where, body = {
        "create": ("POST", "create", {"name": name, "workspace": "elsewhere"}),
        "rename": ("PATCH", "update", {"role_id": roles["viewer"], "name": name}),
        "delete": ("DELETE", "delete", {"role_id": ours}),
        "describe": ("PATCH", "update", {"role_id": str(ours), "description": "x"}),
    }[deed]
    answer = registry.post(registry.admin, f"{path}/{where}", body, method)
    assert answer.status_code == 403 and "stays as it is" in answer.json()["message"]


def test_services_and_the_administrator_are_not_deleted(registry: Registry) -> None:
    second = add_user(registry.admin, "second.admin", PASSWORD, "admin")
    other = Connection(registry.url, second.name, PASSWORD)
    for name in ("admin", "trainer", "promoter"):
        answer = registry.post(other, "/api/2.0/mlflow/users/delete", {"username": name}, "DELETE")
        assert answer.status_code == 403 and "it stays" in answer.json()["message"]


def test_full_names(registry: Registry, fay: Connection) -> None:
    give_name(registry.admin, fay.user, "  Fay   Früh ")
    assert next(one.full_name for one in list_users(registry.admin) if one.name == fay.user) == "Fay Früh"
    for who in (registry.ana, fay, registry.trainer, registry.vic):
        with pytest.raises(Refused, match="only role admin"):
            give_name(who, fay.user, "Ana Example")
    for name in ("x\x1b[2J", "a\u202eb"):
        with pytest.raises(Refused, match="control characters"):
            give_name(registry.admin, fay.user, name)
    with pytest.raises(Refused, match="there is no user"):
        give_name(registry.admin, "nobody.at.all", "X")
