"""Follows the chain of the audit trail row by row and says what breaks it.

A row that is right is recognised by hand, without building an ``Event``: a trail of 100,000 events has to be proven while
people wait. Only what is not recognised goes through ``entries.event_of_row``, which has the last word.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from json.encoder import encode_basestring as quoted  # what json.dumps uses, and documents not
from typing import Any, Final

from registry.trail.entries import GENESIS, LONGEST_TEXT, digest_of, event_of_row, written
from registry.trail.key import TrailKey
from registry.trail.table import COLUMNS

BACKWARDS: Final = timedelta(seconds=1)
"""How much earlier than the event before it one may be: clocks are set right by less."""
AHEAD: Final = timedelta(minutes=5)
"""How far an event may lie ahead of this machine's clock."""
_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")
_ALLOWED: Final = {0: "false", 1: "true"}


@dataclass(frozen=True)
class End:
    """One place in the chain: number, hash and time of the event there."""

    seq: int = 0
    hash: str = GENESIS
    time: str = ""


START: Final = End()


class Chain:
    """The chain from ``start`` on, as far as rows were given to ``follow``."""

    def __init__(self, key: TrailKey | None, start: End = START) -> None:
        self.end = start
        self.problems: list[str] = []
        """One sentence each, in the order of the events."""
        self._key = key
        self._unproven: list[int] = []
        self._latest = written(datetime.now(UTC) + AHEAD)

    def follow(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Goes on along ``rows`` (``Trail.slice``), which have to be the next ones in order of ``seq``."""
        seq, last, before = self.end.seq, self.end.hash, self.end.time
        for row in rows:
            number, time, previous, stored, mac = row[0], row[1], row[13], row[14], row[15]
            if number != seq + 1:
                self.problems.append(
                    f"event {seq + 1} is missing: the trail goes on with {number}; restore the database from a backup"
                )
            if previous != last:
                self.problems.append(
                    f"event {number} does not follow the event before it: something was removed, inserted or reordered"
                )
            if not _recognised(row) and (problem := content_problem(row)):
                self.problems.append(problem)
            if mac != "" if self._key is None else not self._key.holds(number, str(stored), mac):
                self._unproven.append(number)
            if isinstance(time, str) and not before <= time <= self._latest:
                self._ask_time(number, before, time)
            seq, last, before = number, stored, time if isinstance(time, str) else before
        self.end = End(seq, last, before)
        self._report_unproven()

    def _ask_time(self, number: int, before: str, time: str) -> None:
        try:
            now, then = datetime.fromisoformat(time), datetime.fromisoformat(before) if before else None
            if then is not None and then - now > BACKWARDS:
                self.problems.append(
                    f"event {number} ({time}) is earlier than event {number - 1} ({before}): time ran backwards;"
                    " the machine's clock was set, or the event was written later than it says"
                )
            if time > self._latest:
                self.problems.append(
                    f"event {number} ({time}) lies in the future: the machine's clock was set, or the event is made up"
                )
        except (ValueError, TypeError):
            return  # it cannot be read, which was said already

    def _report_unproven(self) -> None:
        """Runs of events without a right MAC, one sentence a run."""
        if self._unproven and self._key is None:
            self.problems.append(
                f"event {self._unproven[0]} carries a MAC, but the plant's key is not there: give the file secrets/trail-key"
                " of the registry's state folder, or restore it from the backup"
            )
        elif self._unproven:
            begin = previous = self._unproven[0]
            for number in [*self._unproven[1:], None]:
                if number != previous + 1:
                    events = f"event {begin} carries" if begin == previous else f"events {begin} to {previous} carry"
                    self.problems.append(
                        f"{events} no right MAC: written by somebody who has not the plant's key, or that key was exchanged"
                    )
                    begin = number or 0
                previous = number or 0
        self._unproven.clear()


def _recognised(row: tuple[Any, ...]) -> bool:
    """Whether a row is surely as the registry writes it, content and hash; False says: look closely."""
    (
        seq,
        time,
        actor,
        action,
        product,
        version,
        digest,
        subject,
        before,
        after,
        address,
        allowed,
        reason,
        previous,
        stored,
        mac,
    ) = row
    try:
        # The canonical form of entries.digest_of, names in order.
        text = (
            f'{{"action":{quoted(action)},"actor":{quoted(actor)},"address":{quoted(address)},"after":{quoted(after)}'
            f',"allowed":{_ALLOWED[allowed]},"before":{quoted(before)},"digest":{quoted(digest)}'
            f',"previous":{quoted(previous)},"product":{quoted(product)},"reason":{quoted(reason)},"seq":{seq}'
            f',"subject":{quoted(subject)},"time":"{time}","version":{quoted(version)}}}'
        )
        return (
            sha256(text.encode()).hexdigest() == stored
            and len(text) < LONGEST_TEXT  # so that no text in it is longer
            and "\\u0000" not in text
            and _TIME.fullmatch(time) is not None
            and datetime.fromisoformat(time).year >= 1000
            and type(seq) is int
            and type(mac) is str
        )
    except (TypeError, ValueError, KeyError):  # bytes for text, text that is none, a 2 for true
        return False


def content_problem(row: tuple[Any, ...]) -> str | None:
    """What is wrong with a row by itself, apart from its place and its MAC."""
    named = plain_row(row)
    try:
        whole = digest_of(event_of_row(named), row[0], named["previous"])
    except (ValueError, TypeError) as problem:
        return f"event {row[0]} cannot be read: {' '.join(str(problem).split())}"
    if whole != named["hash"]:
        return f"event {row[0]} was edited: its content no longer gives its hash {named['hash'][:12]}…"
    return None


def plain_row(row: tuple[Any, ...]) -> dict[str, Any]:
    """A row by the names of its columns, as ``entries.event_of_row`` takes it."""
    named = dict(zip(COLUMNS, row, strict=True))
    # By type too: 1.0 and True are equal to 1, and nothing else counts as one.
    if type(named["allowed"]) is int:
        named["allowed"] = {0: False, 1: True}.get(named["allowed"], named["allowed"])
    return named
