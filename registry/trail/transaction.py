"""One change of the registry and its events, in one transaction.

MLflow's stores open a session of their own for every step. While a transaction of ours is open, all of them, and the audit
trail, work in it instead. So whatever dies, and wherever: afterwards the change is there with its events, or neither is.
Files are outside of it: what has to be done to them is put off until the transaction has ended (``afterwards``), and finished by
``registry.server.watch`` where even that was cut off.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.errors import RegistryError
from registry.trail.append_only import AppendOnly

_LOG = logging.getLogger(__name__)


class InDatabase(Protocol):
    """The database of a transaction (``registry.trail.events.Trail``)."""

    kind: AppendOnly
    engine: sa.Engine


@dataclass
class _Transaction:
    owner: InDatabase
    connection: sa.Connection
    afterwards: list[Callable[[], None]] = field(default_factory=list)


_OPEN: ContextVar[_Transaction | None] = ContextVar("transaction", default=None)


def connection_of(owner: InDatabase) -> sa.Connection | None:
    """The connection of the transaction that is open here in ``owner``; None where none is."""
    transaction = _OPEN.get()
    return transaction.connection if transaction is not None and transaction.owner is owner else None


@contextmanager
def apart() -> Iterator[None]:
    """Queries inside see what is committed, and nothing of the transaction that is open."""
    token = _OPEN.set(None)
    try:
        yield
    finally:
        _OPEN.reset(token)


class Transactions:
    """Opens and ends transactions in the database of ``trail``. ``users``: the SQLite file in which MLflow keeps its users, where
    that is another one; what is done to both is done to both or to neither."""

    def __init__(self, trail: InDatabase, users: Path | None = None) -> None:
        self._trail, self._users = trail, users
        self._engine = trail.engine
        if trail.engine.dialect.name == "sqlite":
            # A connection has to know the other file before a transaction begins, so these are connections of their own.
            self._engine = trail.kind.engine(trail.engine.url)
            sa.event.listen(self._engine, "connect", self._prepare)

    def _prepare(self, raw: Any, _record: object) -> None:
        raw.execute("PRAGMA foreign_keys = ON")  # as MLflow's sessions have it; inside a transaction it is too late
        if self._users is not None:
            raw.execute("ATTACH DATABASE ? AS users_of_mlflow", (str(self._users),))

    def join(self, store: Any) -> None:
        """From now on ``store``, an SQL store of MLflow's, works in the transaction that is open, and alone where none is."""
        from mlflow.store.db.utils import _get_managed_session_maker

        alone = store.ManagedSessionMaker
        together = _get_managed_session_maker(self._session, store.db_type)

        def session(read_only: bool = True) -> AbstractContextManager[Session]:
            chosen = alone if connection_of(self._trail) is None else together
            return chosen(read_only=read_only)  # type: ignore[no-any-return]

        store.ManagedSessionMaker = session

    def _session(self) -> Session:
        # What MLflow takes for its commit ends a savepoint.
        return Session(bind=connection_of(self._trail), join_transaction_mode="create_savepoint")

    def begin(self) -> None:
        """Opens a transaction for the current request: alone with the trail until ``finish`` or ``abandon``."""
        if _OPEN.get() is not None:
            raise RegistryError("a transaction is open already: end it first")
        connection = self._engine.connect()
        try:
            self._trail.kind.lock(connection)
        except BaseException:
            connection.close()
            raise
        _OPEN.set(_Transaction(self._trail, connection))

    def finish(self) -> None:
        """Commits everything at once, then does what was put off. Where the commit fails, nothing is done; it raises."""
        transaction = _OPEN.get()
        if transaction is None:
            return
        _OPEN.set(None)
        try:
            transaction.connection.commit()
        finally:
            transaction.connection.close()
        for step in transaction.afterwards:
            try:
                step()
            except (RegistryError, sa.exc.SQLAlchemyError, OSError):
                # The change is committed; ``registry.server.watch`` finishes what follows from it.
                _LOG.exception("a step after a change of the registry failed")

    def abandon(self) -> None:
        """Undoes everything since ``begin``; does nothing where none is open."""
        transaction = _OPEN.get()
        if transaction is None:
            return
        _OPEN.set(None)
        transaction.connection.close()  # a transaction that was not committed is rolled back

    @contextmanager
    def one(self) -> Iterator[None]:
        """A transaction that is committed when the block ends, and rolled back when the block raises."""
        self.begin()
        try:
            yield
        except BaseException:
            self.abandon()
            raise
        self.finish()

    def afterwards(self, step: Callable[[], None]) -> None:
        """Does ``step`` when the open transaction is committed; at once where none is open."""
        transaction = _OPEN.get()
        if transaction is None:
            step()
        else:
            transaction.afterwards.append(step)
