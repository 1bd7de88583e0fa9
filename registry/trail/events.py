"""The audit trail: typed, immutable events in an append-only, hash-chained table.

Every event carries the sha256 of its own content and of the event before it, so that an edited, removed, inserted or
reordered row breaks the chain (``registry.trail.audit.verify``), and a MAC over that with a key outside the database, so that
somebody with the database alone can add no event that holds. Triggers refuse UPDATE and DELETE (``registry.trail.append_only``),
which stops accidents and ordinary clients. What is left to somebody with database and key is to rewrite the whole chain,
which only the head kept elsewhere (in the plant's git history) gives away.
"""

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from registry.errors import Broken, RegistryError
from registry.names import TAG_QA
from registry.trail import table as trail_table
from registry.trail import transaction, verification
from registry.trail.append_only import kind_of, writing
from registry.trail.chain import content_problem, plain_row
from registry.trail.entries import GENESIS, NOT_DONE, Entry, Event, digest_of, event_of_row, row_of_event
from registry.trail.key import TrailKey, default_key_file, made_key, read_key
from registry.trail.table import TABLE

__all__ = ["GENESIS", "NOT_DONE", "TABLE", "Entry", "Event", "Trail", "digest_of", "event_of_row"]

_CHANGES_OF_ALIASES: Final = ("alias.set", "alias.delete", "model.delete", "version.delete")


class Trail:
    """The trail in the database at ``url``, an SQLAlchemy address: ``sqlite:////plant/mlflow.db``, ``postgresql://host/name``.

    ``key_file`` is where the plant's key lies (``trail_key.key_file``). For an SQLite file it need not be given; without it,
    a trail in PostgreSQL can be read, but not written.
    """

    def __init__(self, url: str, key_file: Path | None = None) -> None:
        address = sa.make_url(url)
        self.kind = kind_of(address)
        self._key_file = key_file or default_key_file(address)
        self._in_memory = self._key_file is None and address.get_backend_name() == "sqlite"
        self._key: TrailKey | None = None
        self._mac = False
        self._checked = verification.Checked(self)
        self.engine = self.kind.engine(address)
        self.guards = self.kind.guards

    def prepare(self) -> None:
        """Creates what is missing: the table, its indices and triggers, and the plant's key.

        ``Broken`` where events carry MACs of a key that is not there.
        """
        with writing(self.kind, self.engine) as connection:
            trail_table.create(connection)
            self.kind.guard(connection)
            if self.key is None:
                self._key = self._new_key(connection)

    def _new_key(self, connection: sa.Connection) -> TrailKey:
        if self._key_file is None and not self._in_memory:
            raise RegistryError("a trail in PostgreSQL needs a key outside the database: give its file as key_file")
        sealed = connection.execute(sa.select(TABLE.c.seq).where(TABLE.c.mac != "").order_by(TABLE.c.seq).limit(1)).scalar()
        if sealed is not None:
            raise Broken(
                f"event {sealed} carries a MAC, but the plant's key {self._key_file} is not there: restore it from the backup"
            )
        last = connection.execute(sa.select(sa.func.max(TABLE.c.seq))).scalar() or 0
        return made_key(self._key_file, last + 1)

    @property
    def key(self) -> TrailKey | None:
        """The plant's key; None where it is not there."""
        if self._key is None and self._key_file is not None:
            self._key = read_key(self._key_file)
        return self._key

    def append(self, entry: Entry) -> Event:
        """Writes ``entry`` at the end and gives it back with its place in the chain. Safe with many writers at once.

        ``Broken``, and nothing is written, where the event is not there afterwards as it was written.
        """
        if self.key is None:
            raise Broken(f"the plant's key {self._key_file or ''} is not there, so no event can be sealed: start the registry")
        with self._alone() as connection:
            last = connection.execute(sa.select(TABLE.c.seq, TABLE.c.hash).order_by(TABLE.c.seq.desc()).limit(1)).first()
            seq, previous = (last.seq + 1, last.hash) if last else (1, GENESIS)
            if "time" not in entry.model_fields_set:  # now that its place is certain: the one before it is earlier
                entry = entry.model_copy(update={"time": datetime.now(UTC)})
            digest = digest_of(entry, seq, previous)
            event = Event(**entry.model_dump(), seq=seq, previous=previous, hash=digest, mac=self.key.mac(seq, digest))
            written = connection.execute(sa.insert(TABLE).values(row_of_event(event))).rowcount
            self.kind.settle(connection)
            there = self.kind.fetch(connection, trail_table.plain_sql(True, seq - 1, 2))
            if written != 1 or [plain_row(row) for row in there] != [row_of_event(event)]:
                raise Broken(
                    f"event {seq} of the audit trail was swallowed: a trigger or rule in the database keeps it out or changes it,"
                    " so nothing is done; run 'changeover audit verify'"
                )
        return event

    def find(
        self,
        *,
        actions: Collection[str] = (),
        product: str | None = None,
        version: str | None = None,
        subject: str | None = None,
        actor: str | None = None,
        digest: str | None = None,
        after_value: str | None = None,
        allowed: bool | None = None,
        after: int = 0,
        newest_first: bool = False,
        at_most: int | None = None,
    ) -> list[Event]:
        """Events that are all of what is asked; ``after_value`` is what their field ``after`` says, ``after`` a number.

        In order of ``seq``, or the newest first. Each is proven by itself, content and MAC: ``Broken`` where one does not hold.
        """
        conditions = {
            "product": product,
            "version": version,
            "subject": subject,
            "digest": digest,
            "actor": actor,
            "after": after_value,
        }
        wanted = {"action": tuple(actions)} | {column: (value,) for column, value in conditions.items() if value is not None}
        query = trail_table.query(trail_table.raw_columns(self._has_mac()), wanted, after, newest_first).limit(at_most)
        if allowed is not None:
            query = query.where(TABLE.c.allowed.is_(allowed))
        with self._reading() as connection:
            rows = [tuple(row) for row in connection.execute(query)]
        return [self._proven(row) for row in rows]

    def events(self, product: str | None = None, after: int = 0, at_most: int | None = None) -> list[Event]:
        """Events in order, of one product or of all, with ``seq`` above ``after``; ``Broken`` as ``find``."""
        return self.find(product=product, after=after, at_most=at_most)

    def rows(self) -> list[dict[str, Any]]:
        """Every row as the database holds it, in order of ``seq``."""
        return [plain_row(row) for row in self.slice(None, sys.maxsize)]

    def problem(self) -> str | None:
        """The first thing that is wrong with the trail; None where it holds. Quick: it remembers what it has proven.

        Events of a transaction that is still open are left out: they may be undone.
        """
        with transaction.apart():
            return self._checked.problem()

    def recheck(self, at_most: int) -> str | None:
        """Proves the next ``at_most`` older events once more and says what it found, as ``problem`` does from then on.

        Call it now and then where nobody waits: an event that was edited after ``problem`` had seen it is found by this.
        """
        with transaction.apart():
            return self._checked.recheck(at_most)

    def slice(self, after: int | None, at_most: int) -> list[tuple[Any, ...]]:
        """Rows in order as plain tuples, with ``seq`` above ``after``; None for those from the very first on."""
        begin = -sys.maxsize - 1 if after is None else after
        statement = trail_table.plain_sql(self._has_mac(), begin, at_most)
        with self._reading() as connection:
            return self.kind.fetch(connection, statement)

    def size(self) -> tuple[int, int]:
        """How many events there are, and the number of the last; both at one moment."""
        with self._reading() as connection:
            count, last = connection.execute(sa.select(sa.func.count(), sa.func.max(TABLE.c.seq)).select_from(TABLE)).one()
        return count, last or 0

    def triggers(self) -> set[str]:
        """Names of the triggers that guard the table: those of ``guards`` that are there, switched on and unchanged."""
        with self._reading() as connection:
            return self.kind.guarding(connection)

    def guard_problems(self) -> list[str]:
        """Guards that are missing or were changed, and what stands in the database that we did not make; one sentence each."""
        with self._reading() as connection:
            missing = sorted(self.guards - self.kind.guarding(connection))
            foreign = self.kind.not_ours(connection)
        change = "is missing or was changed: somebody could have changed events; find out who opened the database"
        return [*(f"trigger {name} {change}" for name in missing), *foreign]

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
        found = self.find(product=product, version=version, actions=("register",), allowed=True, newest_first=True, at_most=1)
        return found[0].actor if found else None

    def last_decision(self, product: str, version: str) -> Event | None:
        """The last allowed change of a version's sign-off since it was registered that was done; None where there is none."""
        decisions: list[Event] = []
        for event in self.find(product=product, version=version, actions=("register", "tag.set", "tag.delete")):
            if event.action == "register" and event.allowed:
                decisions.clear()  # a number that was used before and deleted
            elif event.subject == TAG_QA and event.allowed:
                decisions.append(event)
            elif event.subject == TAG_QA and event.reason.startswith(NOT_DONE) and decisions:
                decisions.pop()
        return decisions[-1] if decisions else None

    def aliases(self, product: str) -> dict[str, str]:
        """Which version holds which alias, if nobody moved one past the gate."""
        held: dict[str, str] = {}
        for event in self.find(product=product, actions=_CHANGES_OF_ALIASES):
            if event.action in ("alias.set", "alias.delete"):
                # A change that was allowed and then failed is followed by a refused event of the same content.
                holder = event.after if event.allowed else event.before
                if event.allowed or event.reason.startswith(NOT_DONE):
                    held[event.subject] = holder if event.action == "alias.set" or not event.allowed else ""
            elif event.allowed:
                held = {a: v for a, v in held.items() if event.action == "version.delete" and v != event.version}
        return {alias: version for alias, version in held.items() if version}

    def rejected(self, product: str) -> frozenset[str]:
        """Digests of the model files that were ever rejected for ``product``."""
        found = self.find(product=product, actions=("tag.set",), subject=TAG_QA, after_value="rejected", allowed=True)
        return frozenset(event.digest for event in found)

    def close(self) -> None:
        """Lets go of the database."""
        self.engine.dispose()

    def _proven(self, row: tuple[Any, ...]) -> Event:
        if problem := content_problem(row):
            raise Broken(f"{problem}; run 'changeover audit verify'")
        event = event_of_row(plain_row(row))
        if self.key is not None and not self.key.holds(event.seq, event.hash, event.mac):
            raise Broken(f"event {event.seq} of the audit trail carries no right MAC; run 'changeover audit verify'")
        return event

    def _has_mac(self) -> bool:
        if not self._mac:  # a table of an earlier release gets the column with the registry's next start
            with self._reading() as connection:
                self._mac = trail_table.has_mac(connection)
        return self._mac

    @contextmanager
    def _alone(self) -> Iterator[sa.Connection]:
        """A transaction without another writer: the open one, or one of its own."""
        joined = transaction.connection_of(self)
        if joined is not None:
            yield joined
            return
        with writing(self.kind, self.engine) as connection:
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        joined = transaction.connection_of(self)
        if joined is not None:
            yield joined
            return
        with self.engine.connect() as connection:
            yield connection
