"""The trail in PostgreSQL: its lock, its guards, and what else stands in the database that we did not make."""

from typing import Any, ClassVar, Final

import sqlalchemy as sa

from registry.errors import RegistryError
from registry.trail.guard_names import BUSY_SECONDS, IN_ORDER, NAME, NO_DELETE, NO_TRUNCATE, NO_UPDATE
from registry.trail.not_ours_in_postgresql import not_ours

CONNECTIONS: Final = 5
"""Connections that one process keeps at most; PostgreSQL allows 100 in all by default."""

# Switched on always, for every row and column, without a condition; its function is as it was made, and the table owner's.
_GUARDING: Final = """
    SELECT tgname, tgtype, prosrc FROM pg_trigger
    JOIN pg_class AS trail ON trail.oid = tgrelid JOIN pg_proc ON pg_proc.oid = tgfoid
    JOIN pg_language ON pg_language.oid = prolang
    WHERE tgrelid = 'changeover_events'::regclass AND tgenabled = 'A' AND tgqual IS NULL
    AND tgattr::text = '' AND tgconstraint = 0 AND tgnargs = 0
    AND lanname = 'plpgsql' AND proconfig IS NULL AND NOT prosecdef AND proowner = relowner
    AND pronamespace = relnamespace AND proname = tgname AND prorettype = 'trigger'::regtype"""


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

    def settle(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")

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
                f"CREATE TRIGGER {name} {when} ON {NAME} FOR EACH {each} EXECUTE FUNCTION {name}()",
                # Otherwise one setting of a session (session_replication_role) switches it off.
                f"ALTER TABLE {NAME} ENABLE ALWAYS TRIGGER {name}",
            ):
                connection.execute(sa.text(statement.replace(":", r"\:")))

    def guarding(self, connection: sa.Connection) -> set[str]:
        found = connection.exec_driver_sql(_GUARDING).all()
        return {name for name, fires, body in found if name in self._BODIES and (fires, body) == self._BODIES[name][2:]}

    def not_ours(self, connection: sa.Connection) -> list[str]:
        return not_ours(connection, self.guards)

    def fetch(self, connection: sa.Connection, statement: str) -> list[tuple[Any, ...]]:
        result = connection.exec_driver_sql(statement)
        return list(result.cursor.fetchall()) if result.cursor is not None else []
