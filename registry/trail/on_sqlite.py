"""The trail in SQLite: its lock, its guards, and what else stands in the database that we did not make."""

import sqlite3
from typing import Any, ClassVar, Final

import sqlalchemy as sa

from registry.trail.guard_names import BUSY_SECONDS, IN_ORDER, NAME, NO_DELETE, NO_UPDATE, OF_MLFLOW
from registry.trail.table import INDICES, TABLE

_TRIGGER_OF_MLFLOW: Final = f"""CREATE TRIGGER {OF_MLFLOW} BEFORE UPDATE ON secrets FOR EACH ROW
    WHEN OLD.secret_id != NEW.secret_id OR OLD.secret_name != NEW.secret_name BEGIN
    SELECT RAISE(ABORT, 'secret_id and secret_name are immutable (used as AAD in encryption)'); END"""
_OURS: Final = "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE type IN ('trigger', 'view', 'index', 'table')"


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
        sa.event.listen(engine, "connect", _prepare)
        return engine

    def lock(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def settle(self, connection: sa.Connection) -> None:
        """Nothing is put off in SQLite: every trigger has run when its statement ends."""

    def guard(self, connection: sa.Connection) -> None:
        for name, body in self._BODIES.items():
            connection.exec_driver_sql(f"CREATE TRIGGER IF NOT EXISTS {name} {body}")

    def guarding(self, connection: sa.Connection) -> set[str]:
        found = connection.exec_driver_sql(_OURS).all()
        return {one.name for one in found if one.type == "trigger" and self._is_guard(one)}

    def not_ours(self, connection: sa.Connection) -> list[str]:
        problems = []
        for one in connection.exec_driver_sql(_OURS).all():
            if one.type == "trigger":
                known = self._is_guard(one) or one.name in self.guards  # a changed guard is missing from ``guarding``
                of_mlflow = (one.name, _bare(one.sql)) == (OF_MLFLOW, _bare(_TRIGGER_OF_MLFLOW))
                if not of_mlflow and not (known and one.tbl_name == NAME):
                    problems.append(f"trigger {one.name} on table {one.tbl_name} {_FOREIGN}")
            elif one.type == "view":
                problems.append(f"view {one.name} {_FOREIGN}")
            elif one.tbl_name == NAME and one.type == "index":
                if one.sql != f"CREATE INDEX {one.name} ON {NAME} {INDICES.get(one.name)}":
                    problems.append(f"index {one.name} on table {NAME} {_FOREIGN}")
            elif one.tbl_name == NAME and _bare(one.sql) not in _tables():
                problems.append(f"table {NAME} is not as the registry made it: it was made anew or altered; find out by whom")
        return problems

    def fetch(self, connection: sa.Connection, statement: str) -> list[tuple[Any, ...]]:
        raw: Any = connection.connection.dbapi_connection
        raw.text_factory = str  # decodes five times faster than a function of ours
        try:
            return list(raw.execute(statement).fetchall())
        except (sqlite3.OperationalError, UnicodeDecodeError):  # text that is none: somebody wrote it there
            raw.text_factory = _text
            return list(raw.execute(statement).fetchall())
        finally:
            raw.text_factory = _text

    def _is_guard(self, one: Any) -> bool:
        return bool(one.tbl_name == NAME and one.sql == f"CREATE TRIGGER {one.name} {self._BODIES.get(one.name)}")


_FOREIGN: Final = (
    "was made neither by the registry nor by MLflow: it can swallow or change what is written; find out by whom, and drop it"
)


def _bare(sql: str) -> str:
    """A definition without what has no meaning in it: white space, and the semicolon at its end."""
    return "".join((sql or "").split()).rstrip(";")


def _tables() -> set[str]:
    """The table as it is made today, as an earlier release made it, and that one with the column it got later."""
    dialect = sa.create_mock_engine("sqlite://", lambda *_: None).dialect
    today = _bare(str(sa.schema.CreateTable(TABLE).compile(dialect=dialect)))
    mac = "macVARCHAR(64)DEFAULT''NOTNULL"
    former = today.replace(f"{mac},", "")
    return {today, former, f"{former.removesuffix(')')},{mac})"}


def _prepare(raw: Any, _record: object) -> None:
    raw.isolation_level = None  # pysqlite opens transactions lazily and deferred: we begin them ourselves
    raw.text_factory = _text  # a value that was spoilt on purpose must not end the proof in an error


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
