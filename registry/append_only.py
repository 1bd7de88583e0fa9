"""What keeps the trail's table append-only, and its writers in line, in each database that can hold it.

Triggers stop accidents and ordinary clients. Who owns the table can take them away, and ``registry.audit.verify`` says so
when they are gone, switched off or exchanged.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Final, Protocol

import sqlalchemy as sa

from registry.errors import RegistryError

NAME: Final = "changeover_events"
BUSY_SECONDS: Final = 30
"""How long a writer waits for the one before it."""
CONNECTIONS: Final = 5
"""Connections to PostgreSQL that one process keeps at most; PostgreSQL allows 100 in all by default."""
NO_UPDATE, NO_DELETE, NO_TRUNCATE, IN_ORDER = (f"{NAME}_{name}" for name in ("no_update", "no_delete", "no_truncate", "in_order"))


class AppendOnly(Protocol):
    """One kind of database."""

    guards: frozenset[str]
    """Names of the triggers that have to be there."""

    def engine(self, address: sa.URL) -> sa.Engine: ...

    def lock(self, connection: sa.Connection) -> None:
        """Begins a transaction that no other writer of the trail is in."""

    def guard(self, connection: sa.Connection) -> None:
        """Creates the triggers that are missing."""

    def guarding(self, connection: sa.Connection) -> set[str]:
        """Names of the triggers that are there, switched on, and as we wrote them."""


def kind_of(address: sa.URL) -> AppendOnly:
    """The kind of the database at ``address``; ``RegistryError`` for one that cannot hold a trail."""
    name = address.get_backend_name()
    if name == "sqlite":
        return Sqlite()
    if name == "postgresql":
        return Postgresql()
    raise RegistryError(
        f"{name} cannot hold the audit trail: its triggers are written for SQLite and PostgreSQL; use one of them"
    )


@contextmanager
def writing(kind: AppendOnly, engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction in which its writer is alone; done as a whole or not at all."""
    with engine.connect() as connection:
        kind.lock(connection)
        yield connection
        connection.commit()


class Sqlite:
    """SQLite: one writer at a time, who takes the lock before reading the end of the chain."""

    _BODIES: ClassVar = {
        NO_UPDATE: """BEFORE UPDATE ON changeover_events BEGIN
            SELECT RAISE(ABORT, 'the audit trail is append-only: an event is never changed'); END""",
        NO_DELETE: """BEFORE DELETE ON changeover_events BEGIN
            SELECT RAISE(ABORT, 'the audit trail is append-only: an event is never deleted'); END""",
        # INSERT OR REPLACE deletes without firing the trigger above.
        IN_ORDER: """BEFORE INSERT ON changeover_events
            WHEN NEW.seq IS NOT (SELECT COALESCE(MAX(seq), 0) + 1 FROM changeover_events) BEGIN
            SELECT RAISE(ABORT, 'the audit trail is append-only: an event goes to its end'); END""",
    }
    guards = frozenset(_BODIES)

    def engine(self, address: sa.URL) -> sa.Engine:
        engine = sa.create_engine(address, connect_args={"timeout": BUSY_SECONDS})
        sa.event.listen(engine, "connect", _prepare_sqlite)
        return engine

    def lock(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def guard(self, connection: sa.Connection) -> None:
        for name, body in self._BODIES.items():
            connection.exec_driver_sql(f"CREATE TRIGGER IF NOT EXISTS {name} {body}")

    def guarding(self, connection: sa.Connection) -> set[str]:
        found = connection.exec_driver_sql(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'changeover_events'"
        )
        return {name for name, sql in found if sql == f"CREATE TRIGGER {name} {self._BODIES.get(name)}"}


def _prepare_sqlite(raw: Any, _record: object) -> None:
    raw.isolation_level = None  # pysqlite opens transactions lazily and deferred: we begin them ourselves
    raw.text_factory = _text  # a value that was spoilt on purpose must not end the proof in an error


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


class Postgresql:
    """PostgreSQL: an advisory lock, held to the end of the transaction, lets one writer after the other."""

    _LOCK: Final = 0x6368616E67656F76  # "changeov"; the key of an advisory lock is a number of 64 bits
    # What fires a trigger, in words, and as pg_trigger.tgtype adds it up (each row 1, before 2, insert 4, delete 8, update 16,
    # truncate 32), and its body.
    _BODIES: ClassVar = {
        NO_UPDATE: ("BEFORE UPDATE", "ROW", 19, "BEGIN RAISE 'the audit trail is append-only: an event is never changed'; END"),
        NO_DELETE: ("BEFORE DELETE", "ROW", 11, "BEGIN RAISE 'the audit trail is append-only: an event is never deleted'; END"),
        NO_TRUNCATE: (
            "BEFORE TRUNCATE",
            "STATEMENT",
            34,
            "BEGIN RAISE 'the audit trail is append-only: no event is ever deleted'; END",
        ),
        IN_ORDER: (
            "BEFORE INSERT",
            "ROW",
            7,
            # By its schema: a temporary table of the same name would be looked into first.
            """DECLARE last integer; BEGIN
            EXECUTE format('SELECT COALESCE(MAX(seq), 0) FROM %I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME) INTO last;
            IF NEW.seq IS DISTINCT FROM last + 1 THEN
                RAISE 'the audit trail is append-only: an event goes to its end';
            END IF; RETURN NEW; END""",
        ),
    }
    guards = frozenset(_BODIES)

    def engine(self, address: sa.URL) -> sa.Engine:
        try:
            return sa.create_engine(
                address,
                pool_size=CONNECTIONS,
                max_overflow=0,
                pool_pre_ping=True,
                connect_args={"connect_timeout": BUSY_SECONDS},
            )
        except ImportError as problem:
            raise RegistryError(
                f"{address.render_as_string()} needs psycopg2, which is not installed; run pip install 'changeover[postgresql]'"
            ) from problem

    def lock(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{BUSY_SECONDS}s'")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({self._LOCK})")

    def guard(self, connection: sa.Connection) -> None:
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar()
        if encoding != "UTF8":
            raise RegistryError(
                f"the database's encoding is {encoding}, the audit trail needs UTF8; create it with ENCODING 'UTF8'"
            )
        there = set(
            connection.exec_driver_sql("SELECT tgname FROM pg_trigger WHERE tgrelid = 'changeover_events'::regclass").scalars()
        )
        for name, (when, each, _, body) in self._BODIES.items():
            if name in there:
                continue
            for statement in (
                f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $${body}$$",
                f"CREATE TRIGGER {name} {when} ON changeover_events FOR EACH {each} EXECUTE FUNCTION {name}()",
                # Otherwise one setting of a session (session_replication_role) switches it off.
                f"ALTER TABLE changeover_events ENABLE ALWAYS TRIGGER {name}",
            ):
                connection.execute(sa.text(statement.replace(":", r"\:")))

    def guarding(self, connection: sa.Connection) -> set[str]:
        found = connection.exec_driver_sql(
            "SELECT tgname, tgtype, prosrc FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid "
            "WHERE tgrelid = 'changeover_events'::regclass AND tgenabled = 'A' AND tgqual IS NULL"
        )
        return {name for name, fires, body in found if name in self._BODIES and (fires, body) == self._BODIES[name][2:]}
