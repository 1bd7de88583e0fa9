"""The chain of the audit trail, and what tampering does to it."""

import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from registry.errors import NotFound, RegistryError
from registry.trail.audit import head, read_events, verify
from registry.trail.events import GENESIS, TABLE, Entry, Trail, digest_of

COLUMNS = [column.name for column in TABLE.columns]


def entry(number: int, **changes: object) -> Entry:
    fields = {"actor": "ana", "action": "tag.set", "product": "bolt", "version": str(number), "subject": "qa"}
    return Entry.model_validate(fields | {"after": "approved", "allowed": True} | changes)


@pytest.fixture(scope="session")
def six(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trail of six events, to copy."""
    return written(tmp_path_factory.mktemp("six") / "trail.db", 6)


@pytest.fixture
def database(six: Path, tmp_path: Path) -> Path:
    """A trail of six events, to tamper with."""
    return copied(six, tmp_path)


def copied(database: Path, folder: Path) -> Path:
    """A copy of a trail in ``folder``, and of its key."""
    shutil.copytree(database.parent / "secrets", folder / "secrets")
    return Path(shutil.copy(database, folder / "trail.db"))


def written(path: Path, events: int) -> Path:
    trail = Trail(f"sqlite:///{path}")
    trail.prepare()
    for number in range(1, events + 1):
        trail.append(entry(number, product="bolt" if number % 2 else "nut"))
    trail.close()
    return path


def tampered(path: Path, *statements: str) -> None:
    """As somebody who has the file: triggers out of the way, put back afterwards."""
    with sqlite3.connect(path) as raw:
        triggers = raw.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            raw.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            raw.execute(statement)
        for _, sql in triggers:
            raw.execute(sql)
    raw.close()


def test_chain_links_every_event_to_the_one_before(database: Path) -> None:
    events = read_events(database)
    assert [one.seq for one in events] == [1, 2, 3, 4, 5, 6]
    assert events[0].previous == GENESIS
    assert [one.previous for one in events[1:]] == [one.hash for one in events[:-1]]
    assert [one.version for one in read_events(database, "nut")] == ["2", "4", "6"]
    assert head(database) == f"6:{events[-1].hash}"
    assert verify(database) == []
    assert verify(database, head(database)) == []


def test_the_hash_is_fixed_for_all_time() -> None:
    """Trails of other years are verified by today's code: a change of this number breaks them."""
    fixed = entry(1, time=datetime(2026, 11, 21, 6, 30, 0, 5, UTC), reason="größer als 1 %")
    assert digest_of(fixed, 1, GENESIS) == "a2bf1fb3300f585e749f17af31cf087db3a8f6cf3f62662d188148c7e823f99d"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE changeover_events SET actor = 'bo' WHERE seq = 3",
        "DELETE FROM changeover_events WHERE seq = 6",
        "INSERT OR REPLACE INTO changeover_events SELECT * FROM changeover_events WHERE seq = 3",
        "INSERT INTO changeover_events SELECT 9, time, actor, action, product, version, digest, subject, before, after,"
        " address, allowed, reason, previous, hash, mac FROM changeover_events WHERE seq = 3",
    ],
)
def test_the_database_refuses_changes(database: Path, statement: str) -> None:
    with sqlite3.connect(database) as raw, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        raw.execute(statement)
    raw.close()
    assert verify(database) == []


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (["UPDATE changeover_events SET allowed = 0 WHERE seq = 3"], "event 3 was edited"),
        (["UPDATE changeover_events SET time = 'yesterday' WHERE seq = 3"], "event 3 cannot be read"),
        (["UPDATE changeover_events SET actor = CAST(X'ff' AS TEXT) WHERE seq = 3"], "event 3 cannot be read"),
        (["UPDATE changeover_events SET product = CAST('bolt' AS BLOB) WHERE seq = 3"], "event 3 cannot be read"),
        (["UPDATE changeover_events SET allowed = 2 WHERE seq = 3"], "event 3 cannot be read"),
        (["DELETE FROM changeover_events WHERE seq = 3"], "event 3 is missing"),
        (
            [
                "UPDATE changeover_events SET seq = 99 WHERE seq = 3",
                "UPDATE changeover_events SET seq = 3 WHERE seq = 4",
                "UPDATE changeover_events SET seq = 4 WHERE seq = 99",
            ],
            "inserted or reordered",
        ),
    ],
)
def test_verify_finds(database: Path, statements: list[str], words: str) -> None:
    tampered(database, *statements)
    assert any(words in problem for problem in verify(database))


def test_verify_misses_triggers(database: Path) -> None:
    with sqlite3.connect(database) as raw:
        raw.execute("DROP TRIGGER changeover_events_no_update")
    raw.close()
    assert verify(database) == [
        "trigger changeover_events_no_update is missing or was changed: somebody could have changed events;"
        " find out who opened the database"
    ]


def test_a_cut_end_needs_the_head(database: Path) -> None:
    kept = head(database)
    tampered(database, "DELETE FROM changeover_events WHERE seq > 4")
    assert verify(database) == []
    assert verify(database, kept) == ["the trail ends with event 4, but event 6 existed: its end was cut off"]
    trail = Trail(f"sqlite:///{database}")
    for number in (5, 6, 7):
        trail.append(entry(number, actor="mallory"))
    trail.close()
    assert verify(database) == []
    assert "the trail was rewritten" in verify(database, kept)[0]
    with pytest.raises(RegistryError, match="give '<number>:<sha256>'"):
        verify(database, "6")


@settings(max_examples=80, deadline=None)
@given(
    row=st.integers(1, 6),
    column=st.sampled_from([name for name in COLUMNS if name != "seq"]),
    value=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=70),
)
def test_any_edit_is_found(six: Path, row: int, column: str, value: str) -> None:
    changed: object = value if column != "allowed" else False
    if changed == read_events(six)[row - 1].model_dump()[column]:
        return
    with TemporaryDirectory() as scratch:
        database = copied(six, Path(scratch))
        with sqlite3.connect(database) as raw:
            raw.execute("DROP TRIGGER changeover_events_no_update")
            raw.execute(f'UPDATE changeover_events SET "{column}" = ? WHERE seq = ?', (changed, row))
        raw.close()
        assert [one for one in verify(database) if "trigger" not in one], (column, value)


@settings(max_examples=40, deadline=None)
@given(order=st.permutations(range(1, 7)), removed=st.sets(st.integers(1, 6), max_size=3))
def test_any_reordering_or_removal_is_found(six: Path, order: list[int], removed: set[int]) -> None:
    """Whatever is left is a trail that somebody could have written only if it is the beginning of the true one."""
    kept = [seq for seq in order if seq not in removed]
    moves = [f"UPDATE changeover_events SET seq = {100 + place} WHERE seq = {seq}" for place, seq in enumerate(kept, 1)]
    moves += ["DELETE FROM changeover_events WHERE seq < 100", "UPDATE changeover_events SET seq = seq - 100"]
    with TemporaryDirectory() as scratch:
        database = copied(six, Path(scratch))
        before = head(database)
        tampered(database, *moves)
        assert bool(verify(database)) == (kept != list(range(1, len(kept) + 1)))
        assert bool(verify(database, before)) == (kept != [1, 2, 3, 4, 5, 6])


def test_many_writers_keep_one_chain(tmp_path: Path) -> None:
    path = written(tmp_path / "trail.db", 0)

    def write(writer: int) -> None:
        trail = Trail(f"sqlite:///{path}")
        for number in range(15):
            trail.append(entry(number, actor=f"writer {writer}"))
        trail.close()

    with ThreadPoolExecutor(6) as writers:
        list(writers.map(write, range(6)))
    assert len(read_events(path)) == 90
    assert verify(path) == []


def test_text_from_outside_is_stored_whole_or_shortened(tmp_path: Path) -> None:
    path = written(tmp_path / "trail.db", 0)
    trail = Trail(f"sqlite:///{path}")
    trail.append(entry(1, reason="\ud800 and \0", after="x" * 10_000, subject="'; DROP TABLE changeover_events; --"))
    trail.close()
    (event,) = read_events(path)
    assert event.reason == "\\ud800 and \\0"
    assert len(event.after) == 4000
    assert event.after.endswith("…")
    assert verify(path) == []


def test_events_never_change(database: Path) -> None:
    event = read_events(database)[0]
    with pytest.raises(ValidationError, match="frozen"):
        event.actor = "bo"
    with pytest.raises(ValidationError, match="Extra inputs"):
        entry(1, mood="good")


def test_what_is_no_trail(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no database at"):
        verify(tmp_path / "none.db")
    sqlite3.connect(tmp_path / "empty.db").execute("CREATE TABLE t (x)").connection.close()
    with pytest.raises(NotFound, match="holds no audit trail"):
        verify(tmp_path / "empty.db")
    with pytest.raises(RegistryError, match="mysql cannot hold the audit trail"):
        Trail("mysql://host/db")
