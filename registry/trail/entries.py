"""What one line of the audit trail says, and the hash over it.

An ``Entry`` is what its writer knows; an ``Event`` is an entry with its place in the chain. The canonical form that is
hashed never changes: trails of other years are verified by today's code.
"""

import hashlib
import json
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

GENESIS: Final = "0" * 64
LONGEST_TEXT: Final = 4000
NOT_DONE: Final = "allowed, but not done"
"""What the reason of an event begins with that takes back the one before it."""


def clean(text: object) -> object:
    """Text from outside as any database stores it: no lone surrogates, no NUL, at most 4000 characters."""
    if not isinstance(text, str):
        return text
    whole = text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\0")
    return whole if len(whole) <= LONGEST_TEXT else whole[: LONGEST_TEXT - 1] + "…"


Text = Annotated[str, BeforeValidator(clean)]


class Entry(BaseModel):
    """What happened, as its writer knows it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    actor: Text
    """Name of the user, or "(unauthenticated)"."""
    action: Text
    """What was tried: ``register``, ``tag.set``, ``alias.set``, ``keep``, …"""
    product: Text = ""
    version: Text = ""
    digest: Text = ""
    """sha256 of the version's model file."""
    subject: Text = ""
    """Which tag, alias, user or path the action is about."""
    before: Text = ""
    after: Text = ""
    address: Text = ""
    """Network address the request came from."""
    allowed: bool
    reason: Text = ""
    """Why it was refused, or the reason a person gave."""
    time: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))
    """Where its writer gives none, ``Trail.append`` sets it, in the order of the chain."""


class Event(Entry):
    """One line of the trail."""

    seq: int
    """1, 2, 3, … without gaps."""
    previous: str
    """Hash of the event before, 64 zeros for the first."""
    hash: str
    mac: str = ""
    """``registry.trail.key``'s proof of the hash; empty for events that are older than the plant's key."""


def digest_of(entry: Entry, seq: int, previous: str) -> str:
    """sha256 over the canonical JSON of an event: sorted keys, no spaces, UTF-8, time in UTC with microseconds."""
    content: dict[str, Any] = {name: getattr(entry, name) for name in Entry.model_fields}
    content["time"] = written(entry.time)
    content |= {"seq": seq, "previous": previous}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def written(time: datetime) -> str:
    """A time as the trail holds it."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def row_of_event(event: Event) -> dict[str, Any]:
    """The row that ``Trail.append`` writes for ``event``."""
    return event.model_dump() | {"time": written(event.time)}


def event_of_row(row: dict[str, Any]) -> Event:
    """The event in a row of ``Trail.rows``; raises ``ValueError`` where it holds none, or one that ``append`` never wrote so."""
    time = datetime.strptime(row["time"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    event = Event.model_validate(row | {"time": time}, strict=True)
    # Two spellings of one value give one hash, but not one answer to a query.
    if row_of_event(event) != row:
        raise ValueError("a value is not written as the registry writes it")
    return event
