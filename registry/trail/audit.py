"""Reads the audit trail and proves that nobody has touched it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from registry.errors import Broken, NotFound, RegistryError, Unreachable
from registry.names import is_digest
from registry.trail import verification
from registry.trail.entries import Event, event_of_row
from registry.trail.events import Trail
from registry.trail.guard_names import NAME


def read_events(db: Path | str, product: str | None = None) -> list[Event]:
    """Events in the database ``db`` (a path, or an SQLAlchemy address), in order; of one product, or of all.

    Edited ones too, so that they can be looked at: ``verify`` proves them. ``Broken`` on a row that is none.
    """
    with _trail(db) as trail:
        return [_event(row) for row in trail.rows() if product is None or row["product"] == product]


def head(db: Path | str) -> str:
    """The trail's head as ``"<number of events>:<hash of the last>"``: keep it elsewhere, and give it to ``verify``."""
    with _trail(db) as trail:
        return "{}:{}".format(*trail.head())


def full_names(db: Path | str, users: Iterable[str]) -> dict[str, str]:
    """The full name of each of ``users`` as an administrator entered it; the user's name where none is on the trail."""
    from registry.trail.people import People

    with _trail(db) as trail:
        return {user: People(trail).full_name(user) for user in users}


def verify(db: Path | str, *heads: str, key: Path | None = None) -> list[str]:
    """Everything that is wrong with the trail, one sentence each; empty when it holds.

    Finds edited, removed, inserted, reordered and made-up events, times that cannot be, missing triggers, and what stands in
    the database and is not ours. ``heads``, as earlier calls of ``head()`` gave them, also prove that no event up to the last
    of them was cut off or rewritten. ``key`` is the file with the plant's key (``trail_key.key_file``); for an SQLite database
    in its registry's state folder it is found.
    """
    with _trail(db, key) as trail:
        return problems_of(trail, heads)


def problems_of(trail: Trail, heads: Sequence[str] = ()) -> list[str]:
    """``verify`` for a trail at hand."""
    return verification.problems(trail) + _lost_heads(trail.head()[0], trail.hash_of, heads)


def lost_heads(db: Path | str, heads: Sequence[str]) -> list[str]:
    """What of ``verify`` is about ``heads`` alone: quick, however long the trail is."""
    with _trail(db) as trail:
        return _lost_heads(trail.head()[0], trail.hash_of, heads)


def _lost_heads(end: int, hash_of: Callable[[int], str | None], heads: Sequence[str]) -> list[str]:
    known = sorted(_head(one) for one in heads)
    problems = []
    if known and known[-1][0] > end:
        problems.append(f"the trail ends with event {end}, but event {known[-1][0]} existed: its end was cut off")
    for seq, digest in known:
        if 0 < seq <= end and hash_of(seq) != digest:  # the first says it all: what follows hangs on it
            problems.append(f"event {seq} is not the one that was there when the head was taken: the trail was rewritten")
            break
    return problems


def _head(text: str) -> tuple[int, str]:
    number, _, digest = text.partition(":")
    if not (number.isascii() and number.isdecimal() and len(number) < 12) or not is_digest(digest):
        raise RegistryError(f"head {text[:100]!r} is none: give '<number>:<sha256>' as 'changeover audit head' printed it")
    return int(number), digest


def _event(row: dict[str, Any]) -> Event:
    try:
        return event_of_row(row)
    except (ValueError, TypeError) as problem:
        raise Broken(
            f"event {row['seq']} of the audit trail cannot be read ({' '.join(str(problem).split())});"
            " run 'changeover audit verify'"
        ) from problem


@contextmanager
def _trail(db: Path | str, key: Path | None = None) -> Iterator[Trail]:
    if isinstance(db, Path) or "://" not in db:
        if not Path(db).is_file():
            raise NotFound(f"no database at {db}: the audit trail lies in the registry's mlflow.db; start the registry once")
        db = f"sqlite:///{Path(db).resolve()}"
    trail = Trail(db, key)
    where = trail.engine.url.render_as_string()
    try:
        if not sa.inspect(trail.engine).has_table(NAME):
            raise NotFound(
                f"{where} holds no audit trail: its table was never made or was dropped; start the registry, or restore"
            )
        yield trail
    except sa.exc.DBAPIError as problem:
        first = str(problem.orig).strip().partition("\n")[0]
        raise Unreachable(f"the audit trail in {where} cannot be read ({first}); see whether its database runs") from problem
    finally:
        trail.close()
