"""What keeps the trail's table append-only, and its writers in line, in each database that can hold it.

Triggers stop accidents and ordinary clients. Who owns the table can take them away or set others beside them, and
``registry.trail.audit.verify`` says so.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import sqlalchemy as sa

from registry.errors import RegistryError
from registry.trail.guard_names import NAME
from registry.trail.on_postgresql import CONNECTIONS, Postgresql
from registry.trail.on_sqlite import Sqlite

__all__ = ["CONNECTIONS", "NAME", "AppendOnly", "kind_of", "writing"]


class AppendOnly(Protocol):
    """One kind of database."""

    guards: frozenset[str]
    """Names of the triggers that have to be there."""

    def engine(self, address: sa.URL) -> sa.Engine: ...

    def lock(self, connection: sa.Connection) -> None:
        """Begins a transaction that no other writer of the trail is in."""

    def settle(self, connection: sa.Connection) -> None:
        """Runs what the database has put off to the end of the transaction, so that a look shows what will stay."""

    def guard(self, connection: sa.Connection) -> None:
        """Creates the triggers that are missing."""

    def guarding(self, connection: sa.Connection) -> set[str]:
        """Names of the triggers that are there, switched on, and as we wrote them."""

    def not_ours(self, connection: sa.Connection) -> list[str]:
        """What stands in the database and was made neither by us nor by MLflow, one sentence each."""

    def fetch(self, connection: sa.Connection, statement: str) -> list[tuple[Any, ...]]:
        """The rows of a statement as plain tuples, fast, with every value as it lies there."""


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
