"""The incremental proof, the second look at old events, what was not made by us, and the questions a trail answers."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.errors import Broken
from registry.trail.audit import verify
from registry.trail.entries import NOT_DONE
from registry.trail.events import Trail

from .test_events import database, entry, six, tampered

__all__ = ["database", "six"]


@pytest.fixture
def trail(database: Path) -> Iterator[Trail]:
    made = Trail(f"sqlite:///{database}")
    yield made
    made.close()


def test_what_is_new_is_proven(trail: Trail, database: Path) -> None:
    assert trail.problem() is None
    trail.append(entry(7))
    assert trail.problem() is None
    tampered(database, "UPDATE changeover_events SET actor = 'bo' WHERE seq = 7")
    assert "event 7 was edited" in str(trail.problem())
    tampered(database, "UPDATE changeover_events SET actor = 'ana' WHERE seq = 7")
    assert trail.problem() is None
    trail.append(entry(8))
    tampered(database, "UPDATE changeover_events SET reason = 'because' WHERE seq = 8")
    assert "event 8 was edited" in str(trail.problem())


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DELETE FROM changeover_events WHERE seq = 6", "ends with event 5, but event 6 existed"),
        ("DELETE FROM changeover_events WHERE seq = 3", "the trail has 5 events, but its last is number 6"),
        ("UPDATE changeover_events SET hash = 'x' WHERE seq = 6", "event 6 is not the one that was there before"),
        ("DROP TRIGGER changeover_events_no_delete", "no_delete is missing or was changed"),
        ("CREATE TRIGGER t AFTER UPDATE ON other BEGIN SELECT 1; END", "trigger t on table other"),
    ],
)
def test_what_is_seen_at_once(trail: Trail, database: Path, statement: str, words: str) -> None:
    assert trail.problem() is None
    if "TRIGGER" in statement:
        with sqlite3.connect(database) as raw:
            raw.execute("CREATE TABLE other (x)")
            raw.execute(statement)
        raw.close()
    else:
        tampered(database, statement)
    assert words in str(trail.problem())


def test_an_edited_old_event_is_found_by_the_second_look(trail: Trail, database: Path) -> None:
    assert trail.problem() is None
    tampered(database, "UPDATE changeover_events SET actor = 'bo' WHERE seq = 3")
    assert trail.problem() is None  # said in its docstring
    looks = [trail.recheck(2) for _ in range(4)]
    assert looks[0] is None and "event 3 was edited" in str(looks[1])
    assert trail.problem() == trail.recheck(2) == looks[1]


def test_the_second_look_goes_round(trail: Trail, database: Path) -> None:
    assert [trail.recheck(4) for _ in range(5)] == [None] * 5
    tampered(database, "UPDATE changeover_events SET actor = 'bo' WHERE seq = 1")
    assert any(trail.recheck(4) for _ in range(2))


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (["CREATE VIEW v AS SELECT 1"], "view v was made neither"),
        (["CREATE TRIGGER t AFTER INSERT ON other BEGIN SELECT 1; END"], "trigger t on table other was made neither"),
        (["CREATE TRIGGER changeover_events_no_update AFTER INSERT ON other BEGIN SELECT 1; END"], "no_update on table other"),
        (["CREATE TRIGGER prevent_secrets_aad_mutation AFTER INSERT ON other BEGIN SELECT 1; END"], "prevent_secrets_aad"),
        (["CREATE UNIQUE INDEX i ON changeover_events (actor, seq)"], "index i on table changeover_events"),
        (
            [
                "DROP INDEX changeover_events_about",
                "CREATE INDEX changeover_events_about ON changeover_events (action) WHERE action = 'x'",
            ],
            "index changeover_events_about on table changeover_events",
        ),
        (["ALTER TABLE changeover_events ADD COLUMN note TEXT"], "table changeover_events is not as the registry made it"),
        (
            ["CREATE TRIGGER changeover_events_no_update BEFORE UPDATE OF version ON changeover_events BEGIN SELECT 1; END"],
            "no_update is missing or was changed",
        ),
    ],
)
def test_what_we_did_not_make_is_reported(database: Path, statements: list[str], words: str) -> None:
    with sqlite3.connect(database) as raw:
        raw.execute("CREATE TABLE other (x)")
        if "no_update" in statements[0]:
            raw.execute("DROP TRIGGER changeover_events_no_update")
        for statement in statements:
            raw.execute(statement)
    raw.close()
    assert any(words in one for one in verify(database)), verify(database)


def test_questions(trail: Trail) -> None:
    for number in (1, 2, 3):
        trail.append(entry(number, action="register", digest="d" * 64, subject="life", actor="trainer", after=""))
    assert [one.seq for one in trail.find(actions=["register"])] == [7, 8, 9]
    assert [one.seq for one in trail.find(actions=["register"], newest_first=True, at_most=2)] == [9, 8]
    assert [one.seq for one in trail.find(actions=["register", "tag.set"], product="bolt", version="1")] == [1, 7]
    assert [one.seq for one in trail.find(digest="d" * 64, after=7)] == [8, 9]
    assert [one.seq for one in trail.find(subject="life", actor="trainer", allowed=True)] == [7, 8, 9]
    assert [one.seq for one in trail.find(after_value="approved", product="nut")] == [2, 4, 6]
    assert trail.find(allowed=False) == trail.find(product="no such") == trail.find(product="\0") == []
    assert trail.find() == trail.events()
    assert trail.who_registered("bolt", "2") == "trainer"
    assert trail.who_registered("nut", "2") is None


def test_long_texts_that_begin_alike_are_not_mixed_up(trail: Trail) -> None:
    long = "x" * 200
    for end in ("a", "b", "y" * 5000):
        trail.append(entry(1, product=long + end, action=long, subject=long + end, digest=long + end))
    for end in ("a", "b", "y" * 5000):
        assert len(trail.find(product=long + end)) == len(trail.find(digest=long + end)) == 1
        assert len(trail.find(subject=long + end, actions=[long])) == 1


def test_every_question_about_a_few_events_is_answered_by_an_index(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by reading the whole trail, which has 100,000 events."""
    from registry.trail import table as trail_table

    asked = []
    real = trail_table.query
    monkeypatch.setattr(trail_table, "query", lambda *arguments: asked.append(real(*arguments)) or asked[-1])
    trail.last_decision("bolt", "1")
    trail.who_registered("bolt", "1")
    trail.aliases("bolt")
    trail.rejected("bolt")
    trail.find(digest="d" * 64)
    trail.find(actions=["register"], subject="life")
    trail.find(actions=["roll_back"])
    trail.find(product="bolt", newest_first=True, at_most=1)
    with trail.engine.connect() as connection:
        for query in asked:
            text = str(query.compile(trail.engine, compile_kwargs={"literal_binds": True}))
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}").all()
            assert "USING INDEX changeover_events_" in str(plan), (text, plan)
    assert len(asked) == 8


def test_no_decision_rests_on_an_edited_event(trail: Trail, database: Path) -> None:
    tampered(database, "UPDATE changeover_events SET after = 'rejected' WHERE seq = 1")
    with pytest.raises(Broken, match="event 1 was edited"):
        trail.last_decision("bolt", "1")
    with pytest.raises(Broken, match="event 1 was edited"):
        trail.rejected("bolt")
    assert trail.aliases("bolt") == {}


def test_a_decision_that_was_not_done_is_none(trail: Trail) -> None:
    trail.append(entry(1, after="pending"))
    decided = trail.last_decision("bolt", "1")
    assert decided is not None and decided.after == "pending"
    trail.append(entry(1, after="pending", allowed=False, reason=f"{NOT_DONE}: the disk is full"))
    decided = trail.last_decision("bolt", "1")
    assert decided is not None and decided.after == "approved"
