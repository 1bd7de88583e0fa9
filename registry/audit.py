"""Reads the audit trail and proves that nobody has touched it."""

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from registry.errors import NotFound, RegistryError
from registry.events import GENESIS, TRIGGERS, Event, Trail, digest_of, event_of_row


def read_events(db: Path | str, product: str | None = None) -> list[Event]:
    """Events in the database ``db`` (a path, or an SQLAlchemy address), in order; of one product, or of all."""
    trail = _trail(db)
    try:
        return trail.events(product)
    finally:
        trail.close()


def head(db: Path | str) -> str:
    """The trail's head as ``"<number of events>:<hash of the last>"``: keep it elsewhere, and give it to ``verify``."""
    trail = _trail(db)
    try:
        return "{}:{}".format(*trail.head())
    finally:
        trail.close()


def verify(db: Path | str, head: str | None = None) -> list[str]:
    """Everything that is wrong with the trail, one sentence each; empty when it holds.

    Finds edited, removed, inserted and reordered events and missing triggers. ``head``, as an earlier call of
    ``head()`` gave it, also proves that no event up to it was cut off or rewritten.
    """
    trail = _trail(db)
    try:
        problems = [
            f"trigger {name} is missing: somebody could have changed events; find out who opened the database"
            for name in sorted(set(TRIGGERS) - trail.triggers())
        ]
        rows = trail.rows()
    finally:
        trail.close()
    problems += broken_links(rows)
    if head is not None:
        problems += _lost_head(rows, head)
    return problems


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


def _lost_head(rows: list[dict[str, Any]], head: str) -> list[str]:
    number, _, digest = head.partition(":")
    if not number.isdecimal() or len(digest) != len(GENESIS):
        raise RegistryError(f"head {head!r} is none: give '<number>:<sha256>' as the audit's head printed it")
    seq = int(number)
    if seq == 0:
        return []
    if seq > len(rows):
        return [f"the trail ends with event {len(rows)}, but event {seq} existed: its end was cut off"]
    if rows[seq - 1]["hash"] != digest:
        return [f"event {seq} is not the one that was there when the head was taken: the trail was rewritten"]
    return []


def _trail(db: Path | str) -> Trail:
    if isinstance(db, Path) or "://" not in db:
        if not Path(db).is_file():
            raise NotFound(f"no database at {db}: the audit trail lies in the registry's mlflow.db; start the registry once")
        db = f"sqlite:///{Path(db).resolve()}"
    trail = Trail(db)
    if not sa.inspect(trail.engine).has_table("changeover_events"):
        trail.close()
        raise NotFound(f"{db} holds no audit trail: its table was never made or was dropped; start the registry, or restore")
    return trail
