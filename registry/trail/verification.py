"""The proof that a trail holds: the whole of it, or only what is new since the last time.

A server asks before every promotion, while nobody else can change anything. So it remembers how far it has proven the
chain, and goes through the older events again in slices, when nobody waits.
"""

import threading
from collections.abc import Iterator
from typing import Any, Protocol

from registry.trail.chain import START, Chain, content_problem
from registry.trail.key import TrailKey

SLICE = 10_000
"""Events that are read at once."""


class Source(Protocol):
    """What a trail is asked (``registry.trail.events.Trail``)."""

    @property
    def key(self) -> TrailKey | None: ...

    def slice(self, after: int | None, at_most: int) -> list[tuple[Any, ...]]:
        """Rows in order, with ``seq`` above ``after``; None for those from the very first on."""

    def size(self) -> tuple[int, int]:
        """How many rows there are, and the highest ``seq``; both at one moment."""

    def guard_problems(self) -> list[str]:
        """Triggers of ours that are missing or changed, and what we did not make."""


def problems(source: Source) -> list[str]:
    """Everything that is wrong, one sentence each: every event, and all that stands around them."""
    chain, key = Chain(source.key), source.key
    for rows in _slices(source, None):
        chain.follow(rows)
    found = [*source.guard_problems(), *chain.problems]
    if key is not None and key.first > chain.end.seq + 1:
        found.append(_other_key(key, chain.end.seq))
    return found


def _other_key(key: TrailKey, last: int) -> str:
    return (
        f"the plant's key seals events from number {key.first} on, but the trail ends with event {last}:"
        " its end was cut off, or the key is another plant's"
    )


def _slices(source: Source, after: int | None) -> Iterator[list[tuple[Any, ...]]]:
    while rows := source.slice(after, SLICE):
        yield rows
        after = rows[-1][0]


class Checked:
    """How far this process has proven a trail. Safe in several threads."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._problem = threading.Lock()
        self._recheck = threading.Lock()
        self._end = START
        """The last event that was proven."""
        self._again = START
        """How far the second look has come."""
        self._found: str | None = None
        """What the second look found; it stays."""

    def problem(self) -> str | None:
        """The first thing that is wrong with the trail; None where it holds. Reads what is new since the last time.

        An older event whose content was edited is ``recheck``'s to find.
        """
        with self._problem:
            if self._found is not None:
                return self._found
            if around := self._source.guard_problems():
                return around[0]
            return self._new_events()

    def _new_events(self) -> str | None:
        key = self._source.key
        count, last = self._source.size()
        if last < self._end.seq:
            return f"the trail ends with event {last}, but event {self._end.seq} existed: its end was cut off"
        if key is not None and key.first > last + 1:
            return _other_key(key, last)
        if self._end.seq and (problem := self._end_problem()):
            return problem
        chain = Chain(key, self._end)
        for rows in _slices(self._source, self._end.seq or None):
            chain.follow(rows)
            if chain.problems:
                return chain.problems[0]
            self._end = chain.end
        if count != last:
            return f"the trail has {count} events, but its last is number {last}: some are missing, or stand before the first"
        return None

    def _end_problem(self) -> str | None:
        """What is wrong with the last event that was proven."""
        seq = self._end.seq
        (row,) = self._source.slice(seq - 1, 1)
        if (row[0], row[14]) != (seq, self._end.hash):
            return f"event {seq} is not the one that was there before: the trail was rewritten while the registry ran"
        return content_problem(row)

    def recheck(self, at_most: int) -> str | None:
        """Proves the next ``at_most`` events once more, from the first to the last and round again; says what it found."""
        with self._recheck:
            rows = self._source.slice(self._again.seq if self._again.seq else None, at_most)
            chain = Chain(self._source.key, self._again)
            chain.follow(rows)
            self._again = chain.end if len(rows) == at_most else START
            if chain.problems and self._found is None:
                self._found = chain.problems[0]
            return self._found
