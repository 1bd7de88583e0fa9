"""What the registry sees to by itself: what an earlier release, a killed process, or somebody in the database left behind."""

import sqlite3
from pathlib import Path

import pytest

from registry.client.flags import confirm, open_flags, put_back_aliases
from registry.client.promote import promote
from registry.client.publish import publish
from registry.client.record import record
from registry.client.sign_off import sign_off
from registry.client.versions import register, versions
from registry.names import CHAMPION, TAG_DIGEST
from registry.trail.audit import read_events, verify

from .conftest import Registry, request_for

pytestmark = pytest.mark.servers


@pytest.fixture
def champion(plant: tuple[Registry, Path], product: str, tmp_path: Path) -> str:
    """A product whose version 1 is champion and published."""
    registry, line = plant
    register(registry.trainer, request_for(tmp_path, product, "a"))
    sign_off(registry.ana, product, "1", "approved", "fine")
    promote(registry.promoter, product)
    folder = publish(registry.promoter, product, "1", line)
    record(registry.promoter, "publish", product, version="1", subject=str(folder))
    return product


def in_the_database(registry: Registry, *statements: str) -> None:
    with sqlite3.connect(registry.database) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def aliases(registry: Registry, product: str) -> dict[str, str]:
    return {alias: one.version for one in versions(registry.vic, product) for alias in one.aliases}


def seen(registry: Registry) -> list[tuple[str, str, str]]:
    return [(event.action, event.product, event.version) for event in put_back_aliases(registry.promoter)]


def test_a_version_that_no_event_registers_is_taken_away(plant: tuple[Registry, Path], champion: str, tmp_path: Path) -> None:
    registry, _ = plant
    columns = "name, version, creation_time, current_stage, source, run_id, status, workspace"
    row = f"SELECT name, 2, creation_time, current_stage, 'models:/m-{'0' * 32}', run_id, status, workspace FROM model_versions"
    in_the_database(registry, f"INSERT INTO model_versions ({columns}) {row} WHERE name = '{champion}'")
    assert [one.version for one in versions(registry.vic, champion)] == ["2", "1"]
    assert seen(registry) == [("version.delete", champion, "2")]
    assert [one.version for one in versions(registry.vic, champion)] == ["1"]
    assert seen(registry) == []
    assert register(registry.trainer, request_for(tmp_path, champion, "b", threshold=0.6)).qa == "pending"
    assert verify(registry.database) == []


def test_a_version_whose_tags_were_edited_is_evidence_and_stays(
    plant: tuple[Registry, Path], product: str, tmp_path: Path
) -> None:
    registry, _ = plant
    register(registry.trainer, request_for(tmp_path, product, "a"))
    key = f"name = '{product}' AND key IN ('{TAG_DIGEST}', 'changeover.life')"
    in_the_database(
        registry,
        f"UPDATE model_version_tags SET value = '{'f' * 64}' WHERE {key}",
        f"DELETE FROM registered_model_aliases WHERE name = '{product}'",
    )
    assert ("version.delete", product, "1") not in seen(registry)
    assert [one.version for one in versions(registry.vic, product)] == ["1"]


def test_nothing_is_crowned_that_was_withdrawn(plant: tuple[Registry, Path], champion: str) -> None:
    """As a promotion left it that died before its alias, in an earlier release: the trail has a champion, the database none."""
    registry, line = plant
    in_the_database(registry, f"DELETE FROM registered_model_aliases WHERE name = '{champion}'")
    sign_off(registry.bo, champion, "1", "pending", "scratches pass")
    assert seen(registry) == [("alias.tampered", champion, "1")]
    assert aliases(registry, champion) == {} and not (line / champion / "current.json").exists()
    assert seen(registry) == []


def test_a_champion_whose_sign_off_is_void_is_flagged_once(plant: tuple[Registry, Path], champion: str) -> None:
    registry, line = plant
    in_the_database(
        registry, f"UPDATE model_version_tags SET value = 'good enough' WHERE name = '{champion}' AND key = 'qa.reason'"
    )
    assert seen(registry) == [("sign-off.void", champion, "1")]
    assert seen(registry) == [] and aliases(registry, champion) == {CHAMPION: "1"}
    (flag,) = [one for one in open_flags(registry.bo) if one.product == champion and one.action == "sign-off.void"]
    assert "is not what was signed" in flag.reason
    confirm(registry.bo, flag.seq, "an exercise; it is withdrawn")
    assert seen(registry) == [], "who confirmed it is not told again"
    sign_off(registry.ana, champion, "1", "pending", "somebody changed it")
    assert not (line / champion / "current.json").exists()


def test_a_line_that_was_not_told_is_told_by_who_comes_next(plant: tuple[Registry, Path], champion: str) -> None:
    registry, line = plant
    pointer = line / champion / "current.json"
    kept = pointer.read_bytes()
    sign_off(registry.bo, champion, "1", "pending", "scratches pass")
    pointer.write_bytes(kept)  # as if the server had died before it could take the pointer away
    assert seen(registry) == [("retract", champion, "")]
    assert not pointer.exists() and seen(registry) == []


def test_the_line_keeps_a_good_model_until_the_next_is_published(
    plant: tuple[Registry, Path], champion: str, tmp_path: Path
) -> None:
    registry, line = plant
    register(registry.trainer, request_for(tmp_path, champion, "b", threshold=0.6))
    sign_off(registry.ana, champion, "2", "approved", "better")
    promote(registry.promoter, champion)
    kept = (line / champion / "current.json").read_bytes()
    assert seen(registry) == [] and (line / champion / "current.json").read_bytes() == kept
    publish(registry.promoter, champion, "2", line)  # and its event is lost
    assert seen(registry) == [("publish", champion, "2")]
    told = read_events(registry.database, champion)[-1]
    assert (told.actor, told.action) == ("(server)", "publish") and "cut off" in told.reason


def test_who_moves_an_alias_in_the_database_is_still_told_apart(plant: tuple[Registry, Path], champion: str) -> None:
    registry, _ = plant
    in_the_database(registry, f"UPDATE registered_model_aliases SET alias = 'previous' WHERE name = '{champion}'")
    found = put_back_aliases(registry.promoter)
    assert [(event.action, event.subject) for event in found] == [("alias.tampered", "champion"), ("alias.tampered", "previous")]
    assert all("past the gate" in event.reason for event in found)
    assert aliases(registry, champion) == {CHAMPION: "1"}
