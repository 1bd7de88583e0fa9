"""Events are sealed with a key that is not in the database, and an append is believed only when it was read back."""

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from registry.errors import Broken, RegistryError
from registry.trail.audit import verify
from registry.trail.entries import GENESIS, Event, digest_of, row_of_event
from registry.trail.events import Trail
from registry.trail.key import key_file
from registry.trail.table import COLUMNS

from .test_events import copied, database, entry, six, tampered, written

__all__ = ["database", "six"]


def trail_of(path: Path) -> Trail:
    return Trail(f"sqlite:///{path}")


def insert(path: Path, row: dict[str, Any]) -> None:
    """As somebody who has the database, and no need to touch a trigger."""
    with sqlite3.connect(path) as raw:
        marks = ", ".join("?" * len(COLUMNS))
        raw.execute(f"INSERT INTO changeover_events VALUES ({marks})", [row[name] for name in COLUMNS])
    raw.close()


def made_up(path: Path, **changes: Any) -> dict[str, Any]:
    """A row that follows the last one rightly, without a MAC."""
    trail = trail_of(path)
    last, previous = trail.head()
    trail.close()
    fresh = entry(9, actor="mallory", **changes)
    event = Event(**fresh.model_dump(), seq=last + 1, previous=previous, hash=digest_of(fresh, last + 1, previous))
    return row_of_event(event)


@pytest.mark.parametrize("mac", ["", "0" * 64])
def test_an_appended_event_is_found(database: Path, mac: str) -> None:
    insert(database, made_up(database) | {"mac": mac})
    (problem,) = verify(database)
    assert problem.startswith("event 7 carries no right MAC")
    trail = trail_of(database)
    assert trail.problem() == problem
    with pytest.raises(Broken, match="event 7 of the audit trail carries no right MAC"):
        trail.last_decision("bolt", "9")
    assert trail.last_decision("bolt", "1") is not None
    trail.close()


def test_a_mac_of_another_event_does_not_help(database: Path) -> None:
    with sqlite3.connect(database) as raw:
        (mac,) = raw.execute("SELECT mac FROM changeover_events WHERE seq = 6").fetchone()
    raw.close()
    insert(database, made_up(database) | {"mac": mac})
    assert "event 7 carries no right MAC" in verify(database)[0]


def test_blanked_macs_are_found(database: Path) -> None:
    tampered(database, "UPDATE changeover_events SET mac = ''")
    assert [one for one in verify(database) if "events 1 to 6 carry no right MAC" in one]


def test_a_chain_rewritten_with_right_hashes_is_found(database: Path) -> None:
    """Without a kept head: only the key says that it is not the plant's."""
    trail = trail_of(database)
    previous, rows = GENESIS, []
    for row in trail.slice(None, 10):
        named = dict(zip(COLUMNS, row, strict=True))
        fresh = entry(row[0], actor="mallory", product=named["product"], time=datetime.fromisoformat(named["time"]))
        event = Event(**fresh.model_dump(), seq=row[0], previous=previous, hash=digest_of(fresh, row[0], previous), mac=row[15])
        rows.append(row_of_event(event))
        previous = event.hash
    trail.close()
    tampered(database, "DELETE FROM changeover_events")
    for row in rows:
        insert(database, row)
    assert [one.partition(":")[0] for one in verify(database)] == ["events 1 to 6 carry no right MAC"]


def test_without_the_key(database: Path) -> None:
    file = key_file(database.parent)
    assert file.stat().st_mode & 0o777 == 0o600
    kept = file.read_text()
    file.unlink()
    (problem,) = verify(database)
    assert "event 1 carries a MAC, but the plant's key is not there" in problem
    trail = trail_of(database)
    with pytest.raises(Broken, match="no event can be sealed"):
        trail.append(entry(1))
    with pytest.raises(Broken, match="restore it from the backup"):
        trail.prepare()  # never a second key
    elsewhere = database.parent / "elsewhere"
    elsewhere.write_text(kept)
    elsewhere.chmod(0o600)
    assert verify(database, key=elsewhere) == []
    elsewhere.chmod(0o644)
    with pytest.raises(RegistryError, match="can be read by others"):
        verify(database, key=elsewhere)
    trail.close()


def test_another_key(database: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = written(tmp_path / "other" / "trail.db", 0)
    assert "events 1 to 6 carry no right MAC" in verify(database, key=key_file(other.parent))[0]
    file = key_file(database.parent)
    file.write_text(f"{file.read_text().split()[0]} 90")
    assert "seals events from number 90 on, but the trail ends with event 6" in verify(database)[-1]


def former(path: Path) -> None:
    """The table as an earlier release left it."""
    tampered(path, "DROP INDEX changeover_events_of_version", "ALTER TABLE changeover_events DROP COLUMN mac")
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE INDEX changeover_events_by_version ON changeover_events (product, version)")
    raw.close()
    key_file(path.parent).unlink()


def test_a_trail_of_an_earlier_release_goes_on(database: Path) -> None:
    former(database)
    assert [one for one in verify(database) if "by_version" not in one] == []
    trail = trail_of(database)
    assert [one.mac for one in trail.events()] == [""] * 6
    trail.prepare()
    trail.append(entry(7))
    trail.close()
    assert key_file(database.parent).read_text().endswith(" 7")
    assert verify(database) == []
    tampered(database, "UPDATE changeover_events SET mac = ''")
    assert "event 7 carries no right MAC" in verify(database)[0]
    tampered(database, "UPDATE changeover_events SET mac = 'x' WHERE seq = 2")
    assert "event 2 carries no right MAC" in verify(database)[0]


@pytest.mark.parametrize(
    "body",
    [
        "BEFORE INSERT ON changeover_events BEGIN SELECT RAISE(IGNORE); END",
        "BEFORE INSERT ON changeover_events WHEN NEW.allowed = 0 BEGIN SELECT RAISE(IGNORE); END",
        "AFTER INSERT ON changeover_events BEGIN DELETE FROM changeover_events WHERE seq = NEW.seq; END",
        "AFTER INSERT ON changeover_events BEGIN UPDATE changeover_events SET actor = 'bo' WHERE seq = NEW.seq; END",
    ],
)
def test_a_swallowing_trigger_stops_the_deed(database: Path, body: str) -> None:
    with sqlite3.connect(database) as raw:
        for guard in ("no_update", "no_delete"):
            raw.execute(f"DROP TRIGGER changeover_events_{guard}")
        raw.execute(f"CREATE TRIGGER helpful {body}")
    raw.close()
    trail = trail_of(database)
    with pytest.raises(Broken, match="event 7 of the audit trail was swallowed: a trigger or rule"):
        trail.append(entry(7, allowed=False))
    assert trail.size() == (6, 6)
    assert any("trigger helpful on table changeover_events was made neither by" in one for one in verify(database))
    trail.close()


def test_time_is_set_in_the_order_of_the_chain(database: Path) -> None:
    early = entry(7)
    trail = trail_of(database)
    first, second = trail.append(entry(8)), trail.append(early)
    assert first.time < second.time
    trail.append(entry(9, time=datetime.now(UTC) - timedelta(seconds=30)))
    (problem,) = verify(database)
    assert problem.startswith("event 9 (") and "is earlier than event 8 (" in problem
    trail.close()


def test_time_in_the_future(database: Path) -> None:
    trail = trail_of(database)
    trail.append(entry(7, time=datetime.now(UTC) + timedelta(minutes=4)))
    assert verify(database) == []
    trail.append(entry(8, time=datetime.now(UTC) + timedelta(minutes=9)))
    (problem,) = verify(database)
    assert problem.startswith("event 8 (") and "lies in the future" in problem
    trail.close()


def test_a_copy_needs_its_key(six: Path, tmp_path: Path) -> None:
    assert verify(copied(six, tmp_path)) == []
