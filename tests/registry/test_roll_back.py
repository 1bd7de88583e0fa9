"""Going back, flags, and aliases that were moved past the gate."""

import sqlite3
from pathlib import Path

import pytest

from registry.client.connection import Connection
from registry.client.promote import promote, waiting
from registry.client.sign_off import sign_off
from registry.client.versions import register, versions
from registry.trail.audit import read_events, verify

from .conftest import Registry, request_for

pytestmark = pytest.mark.servers


def champion_after_another(registry: Registry, product: str, folder: Path) -> str:
    """A product whose champion is version 2, and version 1 was before."""
    for number, batch in (("1", "a"), ("2", "b")):
        register(registry.trainer, request_for(folder, product, batch))
        sign_off(registry.ana, product, number, "approved", "fine")
        promote(registry.promoter, product)
    return product


@pytest.fixture
def product(registry: Registry, product: str, tmp_path: Path) -> str:
    return champion_after_another(registry, product, tmp_path)


@pytest.fixture(scope="module")
def lasting(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> str:
    """One such product for all that is refused."""
    return champion_after_another(registry, "lasting", tmp_path_factory.mktemp("lasting"))


def names(registry: Registry, product: str) -> dict[str, str]:
    return {alias: one.version for one in versions(registry.vic, product) for alias in one.aliases}


def back(
    registry: Registry, who: Connection, product: str, reason: str = "it misses chips", emergency: bool = False
) -> tuple[int, str]:
    body = {"product": product, "reason": reason, "emergency": emergency}
    answer = registry.post(who, "/changeover/roll-back", body)
    return answer.status_code, answer.json().get("message", "")


def flagged(registry: Registry, product: str) -> list[dict[str, object]]:
    found = registry.vic.call("GET", "/changeover/flags")["flags"]
    return [flag for flag in found if flag["product"] == product]


def test_quality_assurance_goes_back(registry: Registry, product: str) -> None:
    assert back(registry, registry.ana, product) == (200, "")
    assert names(registry, product) == {"champion": "1"}
    assert flagged(registry, product) == []
    status, words = back(registry, registry.ana, product)
    assert status == 403 and "no previous version" in words
    assert not verify(registry.database)


def test_in_an_emergency_the_service_goes_back_and_quality_assurance_confirms(registry: Registry, product: str) -> None:
    assert back(registry, registry.promoter, product)[0] == 403
    assert names(registry, product) == {"champion": "2", "previous": "1"}
    assert back(registry, registry.promoter, product, emergency=True) == (200, "")
    (flag,) = flagged(registry, product)
    assert (flag["actor"], flag["reason"], flag["before"], flag["after"]) == ("promoter", "it misses chips", "2", "1")
    body = {"event": flag["seq"], "reason": "seen: the lamp was off"}
    for who in (registry.vic, registry.trainer, registry.promoter, registry.admin):
        assert registry.post(who, "/changeover/confirm", body).status_code == 403
    assert registry.post(registry.ana, "/changeover/confirm", body).status_code == 200
    assert flagged(registry, product) == []
    assert registry.post(registry.ana, "/changeover/confirm", body).status_code == 403, "it is no open flag any more"


@pytest.mark.parametrize("name", ["admin", "trainer", "vic", "bare"])
def test_nobody_else_goes_back(registry: Registry, lasting: str, name: str) -> None:
    for emergency in (False, True):
        assert back(registry, getattr(registry, name), lasting, emergency=emergency)[0] == 403
    assert names(registry, lasting) == {"champion": "2", "previous": "1"}


@pytest.mark.parametrize("reason", ["", "   ", "x" * 2001])
def test_a_roll_back_has_a_reason(registry: Registry, lasting: str, reason: str) -> None:
    assert back(registry, registry.ana, lasting, reason)[0] == 400
    assert names(registry, lasting) == {"champion": "2", "previous": "1"}


def test_nobody_goes_back_to_what_is_no_longer_approved(registry: Registry, product: str) -> None:
    sign_off(registry.bo, product, "1", "pending", "I was wrong")
    status, words = back(registry, registry.ana, product)
    assert status == 403 and "has no previous version" in words, "whoever is not approved any more holds no alias"


def test_an_alias_moved_in_the_database_is_put_back_and_flagged(registry: Registry, product: str) -> None:
    with sqlite3.connect(registry.database) as database:
        database.execute("UPDATE registered_model_aliases SET version = 1 WHERE name = ? AND alias = 'champion'", (product,))
        database.execute("INSERT INTO registered_model_aliases (alias, version, name) VALUES ('shadow', 2, ?)", (product,))
    assert names(registry, product)["champion"] == "1"
    assert registry.post(registry.vic, "/changeover/watch", {}).status_code == 403
    undone = registry.promoter.call("POST", "/changeover/watch", json={})["undone"]
    mine = [(one["subject"], one["before"], one["after"]) for one in undone if one["product"] == product]
    assert mine == [("champion", "2", "1"), ("shadow", "", "2")]
    assert names(registry, product) == {"champion": "2", "previous": "1"}
    assert registry.promoter.call("POST", "/changeover/watch", json={})["undone"] == []
    assert len(flagged(registry, product)) == 2
    assert [event.actor for event in read_events(registry.database, product)][-1] == "(server)"


def test_a_waived_version_that_was_rolled_back_is_not_promoted_again(registry: Registry, product: str, tmp_path: Path) -> None:
    register(registry.trainer, request_for(tmp_path, product, "c", passed=False))
    assert registry.set_tag(registry.bo, product, "3", "qa.waiver", "the lamp flickered").status_code == 200
    sign_off(registry.ana, product, "3", "approved", "I agree")
    assert names(registry, product) == {"candidate": "3", "champion": "2", "previous": "1"}
    promote(registry.promoter, product)
    assert back(registry, registry.ana, product) == (200, "")
    assert waiting(versions(registry.vic, product)) is None, "or the next look would undo the roll-back"
    assert names(registry, product) == {"champion": "2"}
    assert registry.promoter.call("POST", "/changeover/watch", json={})["undone"] == []
