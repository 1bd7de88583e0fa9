"""The audit trail: typed, immutable events in an append-only, hash-chained table.

Every event carries the sha256 of its own content and of the event before it, so that an edited, removed, inserted or
reordered row breaks the chain (``registry.audit.verify``). Triggers refuse UPDATE and DELETE (``registry.append_only``),
which stops accidents and ordinary clients; somebody with the database in hand can drop triggers and rewrite the whole
chain, which only the head kept elsewhere (in the plant's git history) gives away.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import sqlalchemy as sa
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from registry.append_only import NAME, kind_of, writing
from registry.errors import Broken
from registry.names import TAG_QA

GENESIS: Final = "0" * 64
LONGEST_TEXT: Final = 4000
NOT_DONE: Final = "allowed, but not done"
"""What the reason of an event begins with that takes back the one before it."""


def _clean(text: object) -> object:
    """Text from outside as any database stores it: no lone surrogates, no NUL, at most 4000 characters."""
    if not isinstance(text, str):
        return text
    whole = text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\0")
    return whole if len(whole) <= LONGEST_TEXT else whole[: LONGEST_TEXT - 1] + "…"


Text = Annotated[str, BeforeValidator(_clean)]


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


class Event(Entry):
    """One line of the trail."""

    seq: int
    """1, 2, 3, … without gaps."""
    previous: str
    """Hash of the event before, 64 zeros for the first."""
    hash: str


def digest_of(entry: Entry, seq: int, previous: str) -> str:
    """sha256 over the canonical JSON of an event: sorted keys, no spaces, UTF-8, time in UTC with microseconds."""
    content: dict[str, Any] = {name: getattr(entry, name) for name in Entry.model_fields}
    content["time"] = _written(entry.time)
    content |= {"seq": seq, "previous": previous}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _written(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


_METADATA = sa.MetaData()
TABLE: Final = sa.Table(
    NAME,
    _METADATA,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("time", sa.String(32), nullable=False),
    *(
        sa.Column(name, sa.Text, nullable=False)
        for name in ("actor", "action", "product", "version", "digest", "subject", "before", "after", "address")
    ),
    sa.Column("allowed", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("previous", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Index("changeover_events_by_version", "product", "version"),
)

# As it lies there: what SQLAlchemy's types make of a 2 in place of true, or of bytes in place of text, hides that it was edited.
_RAW: Final = [sa.type_coerce(column, sa.types.NullType()).label(column.name) for column in TABLE.columns]


class Trail:
    """The trail in the database at ``url``, an SQLAlchemy address: ``sqlite:////plant/mlflow.db``, ``postgresql://host/name``."""

    def __init__(self, url: str) -> None:
        address = sa.make_url(url)
        self._kind = kind_of(address)
        self.engine = self._kind.engine(address)
        self.guards = self._kind.guards

    def prepare(self) -> None:
        """Creates the table and its triggers where they are missing."""
        with writing(self._kind, self.engine) as connection:
            _METADATA.create_all(connection)
            self._kind.guard(connection)

    def append(self, entry: Entry) -> Event:
        """Writes ``entry`` at the end and gives it back with its place in the chain. Safe with many writers at once."""
        with writing(self._kind, self.engine) as connection:
            last = connection.execute(sa.select(TABLE.c.seq, TABLE.c.hash).order_by(TABLE.c.seq.desc()).limit(1)).first()
            seq, previous = (last.seq + 1, last.hash) if last else (1, GENESIS)
            event = Event(**entry.model_dump(), seq=seq, previous=previous, hash=digest_of(entry, seq, previous))
            connection.execute(sa.insert(TABLE).values(event.model_dump() | {"time": _written(event.time)}))
        return event

    def events(self, product: str | None = None, after: int = 0, at_most: int | None = None) -> list[Event]:
        """Events in order, of one product or of all, with ``seq`` above ``after``; raises ``Broken`` on a row that is none."""
        query = sa.select(*_RAW).where(TABLE.c.seq > after).order_by(TABLE.c.seq)
        if product is not None:
            query = query.where(TABLE.c.product == product)
        if at_most is not None:
            query = query.limit(at_most)
        with self._reading() as connection:
            return [_event(_plain(row)) for row in connection.execute(query).mappings()]

    def rows(self) -> list[dict[str, Any]]:
        """Every row as the database holds it, in order of ``seq``: what ``audit.verify`` judges."""
        with self._reading() as connection:
            return [_plain(row) for row in connection.execute(sa.select(*_RAW).order_by(TABLE.c.seq)).mappings()]

    def triggers(self) -> set[str]:
        """Names of the triggers that guard the table: those of ``guards`` that are there, switched on and unchanged."""
        with self._reading() as connection:
            return self._kind.guarding(connection)

    def hash_of(self, seq: int) -> str | None:
        """Hash of event ``seq`` as it is written there; None where there is no such event."""
        with self._reading() as connection:
            return connection.execute(sa.select(TABLE.c.hash).where(TABLE.c.seq == seq)).scalar()

    def head(self) -> tuple[int, str]:
        """Number and hash of the last event; ``(0, GENESIS)`` while there is none."""
        query = sa.select(TABLE.c.seq, TABLE.c.hash).order_by(TABLE.c.seq.desc()).limit(1)
        with self._reading() as connection:
            last = connection.execute(query).first()
        return (last.seq, last.hash) if last else (0, GENESIS)

    def who_registered(self, product: str, version: str) -> str | None:
        """Name of the user who registered a version; None where the trail does not say."""
        query = (
            sa.select(TABLE.c.actor)
            .where(TABLE.c.product == product, TABLE.c.version == version)
            .where(TABLE.c.action == "register", TABLE.c.allowed.is_(True))
            .order_by(TABLE.c.seq.desc())
            .limit(1)
        )
        with self._reading() as connection:
            return connection.execute(query).scalar()

    def last_decision(self, product: str, version: str) -> Event | None:
        """The last allowed change of a version's sign-off since it was registered; None where there is none."""
        found = None
        for event in self.events(product):
            if event.version != version or not event.allowed:
                continue
            if event.action == "register":
                found = None  # a number that was used before and deleted
            elif event.action in ("tag.set", "tag.delete") and event.subject == TAG_QA:
                found = event
        return found

    def aliases(self, product: str) -> dict[str, str]:
        """Which version holds which alias, if nobody moved one past the gate."""
        held: dict[str, str] = {}
        for event in self.events(product):
            if event.action in ("alias.set", "alias.delete"):
                # A change that was allowed and then failed is followed by a refused event of the same content.
                holder = event.after if event.allowed else event.before
                if event.allowed or event.reason.startswith(NOT_DONE):
                    held[event.subject] = holder if event.action == "alias.set" or not event.allowed else ""
            elif event.action in ("model.delete", "version.delete") and event.allowed:
                held = {a: v for a, v in held.items() if event.action == "version.delete" and v != event.version}
        return {alias: version for alias, version in held.items() if version}

    def rejected(self, product: str) -> frozenset[str]:
        """Digests of the model files that were ever rejected for ``product``."""
        query = sa.select(TABLE.c.digest).where(TABLE.c.product == product, TABLE.c.allowed.is_(True))
        query = query.where(TABLE.c.action == "tag.set", TABLE.c.subject == TAG_QA, TABLE.c.after == "rejected")
        with self._reading() as connection:
            return frozenset(connection.execute(query).scalars())

    def close(self) -> None:
        """Lets go of the database."""
        self.engine.dispose()

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with self.engine.connect() as connection:
            yield connection


def _plain(row: sa.RowMapping) -> dict[str, Any]:
    return dict(row) | {"allowed": {0: False, 1: True}.get(row["allowed"], row["allowed"])}


def event_of_row(row: dict[str, Any]) -> Event:
    """The event in a row of ``Trail.rows``; raises ``ValueError`` where it holds none, or one that ``append`` never wrote so."""
    time = datetime.strptime(row["time"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    event = Event.model_validate(row | {"time": time}, strict=True)
    # Two spellings of one value give one hash, but not one answer to a query.
    if event.model_dump() | {"time": _written(event.time)} != row:
        raise ValueError("a value is not written as the registry writes it")
    return event


def _event(row: dict[str, Any]) -> Event:
    try:
        return event_of_row(row)
    except (ValueError, TypeError) as problem:
        raise Broken(
            f"event {row['seq']} of the audit trail cannot be read ({' '.join(str(problem).split())});"
            " run 'changeover audit verify'"
        ) from problem
