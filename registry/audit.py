"""Reads the audit trail and proves that nobody has touched it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from registry.append_only import NAME
from registry.errors import NotFound, RegistryError, Unreachable
from registry.events import GENESIS, Event, Trail, digest_of, event_of_row
from registry.names import is_digest


def read_events(db: Path | str, product: str | None = None) -> list[Event]:
    """Events in the database ``db`` (a path, or an SQLAlchemy address), in order; of one product, or of all."""
    with _trail(db) as trail:
        return trail.events(product)


def head(db: Path | str) -> str:
    """The trail's head as ``"<number of events>:<hash of the last>"``: keep it elsewhere, and give it to ``verify``."""
    with _trail(db) as trail:
        return "{}:{}".format(*trail.head())


def verify(db: Path | str, *heads: str) -> list[str]:
    """Everything that is wrong with the trail, one sentence each; empty when it holds.

    Finds edited, removed, inserted and reordered events and missing triggers. ``heads``, as earlier calls of ``head()``
    gave them, also prove that no event up to the last of them was cut off or rewritten.
    """
    with _trail(db) as trail:
        return problems_of(trail, heads)


def problems_of(trail: Trail, heads: Sequence[str] = ()) -> list[str]:
    """``verify`` for a trail at hand."""
    problems = [
        f"trigger {name} is missing or was changed: somebody could have changed events; find out who opened the database"
        for name in sorted(trail.guards - trail.triggers())
    ]
    rows = trail.rows()
    hashes = {row["seq"]: row["hash"] for row in rows}
    return problems + broken_links(rows) + _lost_heads(max(hashes, default=0), hashes.get, heads)


def lost_heads(db: Path | str, heads: Sequence[str]) -> list[str]:
    """What of ``verify`` is about ``heads`` alone: quick, however long the trail is."""
    with _trail(db) as trail:
        return _lost_heads(trail.head()[0], trail.hash_of, heads)


def broken_links(rows: list[dict[str, Any]]) -> list[str]:
    """What is wrong with the chain of ``rows`` (``Trail.rows``), one sentence each."""
    problems = []
    previous, expected = GENESIS, 1
    for row in rows:
        seq = row["seq"]
        if seq != expected:
            problems.append(f"event {expected} is missing: the trail goes on with {seq}; restore the database from a backup")
        if row["previous"] != previous:
            problems.append(f"event {seq} does not follow the event before it: something was removed, inserted or reordered")
        try:
            whole = digest_of(event_of_row(row), seq, row["previous"])
        except (ValueError, TypeError) as problem:
            problems.append(f"event {seq} cannot be read: {' '.join(str(problem).split())}")
        else:
            if whole != row["hash"]:
                problems.append(f"event {seq} was edited: its content no longer gives its hash {row['hash'][:12]}…")
        previous, expected = row["hash"], seq + 1
    return problems


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


@contextmanager
def _trail(db: Path | str) -> Iterator[Trail]:
    if isinstance(db, Path) or "://" not in db:
        if not Path(db).is_file():
            raise NotFound(f"no database at {db}: the audit trail lies in the registry's mlflow.db; start the registry once")
        db = f"sqlite:///{Path(db).resolve()}"
    trail = Trail(db)
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
