"""A thousand ways to tamper with a trail, by somebody who has the database in hand: each of them is found."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from registry.trail.audit import problems_of
from registry.trail.events import GENESIS, TABLE, Trail, digest_of, event_of_row

from .test_events import entry

EVENTS = 7
COLUMNS = [column.name for column in TABLE.columns]
Row = dict[str, Any]


class Tampered:
    """A trail in memory whose rows can be exchanged as the owner of the file can: triggers away, rows, triggers back."""

    def __init__(self) -> None:
        self.trail = Trail("sqlite://")
        self.trail.prepare()
        for number in range(1, EVENTS + 1):
            self.trail.append(entry(number, product="bolt" if number % 2 else "nut", allowed=number != 3, reason="x" * number))
        self.head = "{}:{}".format(*self.trail.head())
        self.before = self.stored()

    def stored(self) -> list[Row]:
        """The rows with the type of each value, so that every change of what is stored shows."""
        names = ", ".join(f'"{name}", typeof("{name}")' for name in COLUMNS)
        found = self._raw().execute(f"SELECT {names} FROM changeover_events ORDER BY seq").fetchall()
        return [{name: (one[2 * at], one[2 * at + 1]) for at, name in enumerate(COLUMNS)} for one in found]

    def write(self, rows: list[Row]) -> None:
        raw = self._raw()
        triggers = raw.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            raw.execute(f"DROP TRIGGER {name}")
        raw.execute("DELETE FROM changeover_events")
        marks = ", ".join("?" * len(COLUMNS))
        for row in rows:
            raw.execute(f"INSERT INTO changeover_events VALUES ({marks})", [row[name] for name in COLUMNS])
        for _, sql in triggers:
            raw.execute(sql)

    def rows(self) -> list[Row]:
        return [{name: value for name, (value, _) in row.items()} for row in self.before]

    def _raw(self) -> Any:
        return self.trail.engine.raw_connection().dbapi_connection


@pytest.fixture(scope="module")
def tampered() -> Iterator[Tampered]:
    made = Tampered()
    yield made
    made.trail.close()


def place(rows: int) -> st.SearchStrategy[int]:
    return st.integers(0, rows - 1)


VALUES = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=70),
    st.integers(-3, 9),
    st.binary(max_size=70),
    st.sampled_from([2, 0.5, "true", GENESIS, "é", "e\u0301", "2026-11-21T06:30:00Z"]),
)


@st.composite
def edit(draw: st.DrawFn) -> tuple[str, Callable[[list[Row]], list[Row]]]:
    """Any column of any row, to any value of any type; or to the same value written in another way."""
    at, column = draw(place(EVENTS)), draw(st.sampled_from(COLUMNS))
    ways: list[Callable[[Any], Any]] = [lambda old: str(old).encode(), lambda old: f"{old} ", lambda old: str(old).upper()]
    change = draw(st.one_of(VALUES.map(lambda value: lambda _: value), st.sampled_from(ways)))
    renewed = draw(st.sampled_from(["nothing", "its hash", "every hash from there on"]))

    def apply(rows: list[Row]) -> list[Row]:
        rows[at][column] = change(rows[at][column])
        until = {"nothing": at, "its hash": at + 1}.get(renewed, EVENTS)
        return rehashed(rows, at, until)

    return f"edit {column} of event {at + 1}, renew {renewed}", apply


def rehashed(rows: list[Row], begin: int, end: int) -> list[Row]:
    for at in range(begin, end):
        if at > begin:
            rows[at]["previous"] = rows[at - 1]["hash"]
        try:
            plain = rows[at] | {"allowed": bool(rows[at]["allowed"])}
            rows[at]["hash"] = digest_of(event_of_row(plain), rows[at]["seq"], rows[at]["previous"])
        except (ValueError, TypeError):
            break
    return rows


@st.composite
def removal(draw: st.DrawFn) -> tuple[str, Callable[[list[Row]], list[Row]]]:
    gone = draw(st.sets(place(EVENTS), min_size=1))
    closed, renewed = draw(st.booleans()), draw(st.booleans())

    def apply(rows: list[Row]) -> list[Row]:
        left = [row for at, row in enumerate(rows) if at not in gone]
        return numbered(left, renewed) if closed else left

    return f"remove {sorted(one + 1 for one in gone)}, close the gaps: {closed}, new hashes: {renewed}", apply


def numbered(rows: list[Row], renewed: bool) -> list[Row]:
    for seq, row in enumerate(rows, 1):
        row["seq"] = seq
    if renewed and rows:
        rows[0]["previous"] = GENESIS
        rehashed(rows, 0, len(rows))
    return rows


@st.composite
def insertion(draw: st.DrawFn) -> tuple[str, Callable[[list[Row]], list[Row]]]:
    at, source, renewed = draw(st.integers(0, EVENTS - 1)), draw(place(EVENTS)), draw(st.booleans())

    def apply(rows: list[Row]) -> list[Row]:
        return numbered([*rows[:at], rows[source] | {"actor": "mallory"}, *rows[at:]], renewed)

    return f"insert before event {at + 1}, new hashes: {renewed}", apply


@st.composite
def reordering(draw: st.DrawFn) -> tuple[str, Callable[[list[Row]], list[Row]]]:
    order, renewed = draw(st.permutations(range(EVENTS))), draw(st.booleans())
    return f"reorder to {order}, new hashes: {renewed}", lambda rows: numbered([rows[at] for at in order], renewed)


@st.composite
def cut(draw: st.DrawFn) -> tuple[str, Callable[[list[Row]], list[Row]]]:
    end = draw(place(EVENTS))
    return f"cut off after event {end}", lambda rows: rows[:end]


@settings(max_examples=1000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(way=st.one_of(edit(), removal(), insertion(), reordering(), cut()))
def test_a_thousand_tamperings_are_found(tampered: Tampered, way: tuple[str, Callable[[list[Row]], list[Row]]]) -> None:
    name, apply = way
    rows = apply(tampered.rows())
    assume(len({str(row["seq"]) for row in rows}) == len(rows) and all(isinstance(row["seq"], int) for row in rows))
    tampered.write(rows)
    assume(tampered.stored() != tampered.before)
    assert problems_of(tampered.trail, [tampered.head]), name


@pytest.mark.parametrize("seq", range(1, EVENTS + 1))
@pytest.mark.parametrize("column", [name for name in COLUMNS if name != "seq"])
def test_the_edited_line_is_named(tampered: Tampered, seq: int, column: str) -> None:
    rows = tampered.rows()
    rows[seq - 1][column] = {"allowed": 2}.get(column, b"\xff")
    tampered.write(rows)
    assert any(f"event {seq} " in problem for problem in problems_of(tampered.trail))


def test_the_untouched_trail_holds(tampered: Tampered) -> None:
    tampered.write(tampered.rows())
    assert problems_of(tampered.trail, ["0:" + GENESIS, tampered.head]) == []
