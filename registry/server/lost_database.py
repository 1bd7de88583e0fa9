"""A database that cannot work now: stopped, full, read-only, locked, damaged. The answer is 503 and one plain sentence.

MLflow makes 400, 401, 500 or 503 of such a failure, with or without the database's own words, and so do its two frameworks each
in its way. So a failure is noticed where it happens, at SQLAlchemy's engines, and whoever answers the request asks for it.
"""

import errno
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import sqlalchemy as sa

from registry.server.inner_text import without_hashes

_AGAIN: Final = "then send this again"
STOPPED: Final = f"the registry's database does not answer; see that it runs, {_AGAIN}"
FULL: Final = f"the registry's database cannot write, as its disk is full or fails; free some space, {_AGAIN}"
READ_ONLY: Final = f"the registry's database is read-only now; make it writable for the registry's account, {_AGAIN}"
EXCHANGED: Final = "the registry's database file was exchanged while the registry ran; end the registry and start it again"
BUSY: Final = "the registry's database is busy or locked by another program; try again in a minute"
DAMAGED: Final = f"the registry's database is damaged, or lacks a table; restore it from the backup, {_AGAIN}"
NO_RIGHTS: Final = f"the registry's database refuses the registry's account; give it back its rights, {_AGAIN}"
DISK_FULL: Final = f"the registry's disk is full; free some space, {_AGAIN}"
NOT_WRITABLE: Final = f"the registry cannot write to its folder; give its account the right to, {_AGAIN}"

# By SQLSTATE, or by its class of two characters.
_OF_POSTGRESQL: Final = {
    "08": STOPPED, "57P": STOPPED, "57014": BUSY, "53100": FULL, "58030": FULL, "53": BUSY, "25006": READ_ONLY, "55P03": BUSY,
    "40": BUSY, "XX": DAMAGED, "42501": NO_RIGHTS, "42P01": DAMAGED, "3F000": DAMAGED, "28": NO_RIGHTS, "3D000": STOPPED,
}  # fmt: skip
_OF_SQLITE: Final = {
    sqlite3.SQLITE_BUSY: BUSY, sqlite3.SQLITE_LOCKED: BUSY, sqlite3.SQLITE_READONLY: READ_ONLY, sqlite3.SQLITE_PERM: NO_RIGHTS,
    sqlite3.SQLITE_IOERR: FULL, sqlite3.SQLITE_FULL: FULL, sqlite3.SQLITE_CANTOPEN: STOPPED, sqlite3.SQLITE_CORRUPT: DAMAGED,
    sqlite3.SQLITE_NOTADB: DAMAGED,
}  # fmt: skip
_OF_FILES: Final = {errno.ENOSPC: DISK_FULL, errno.EDQUOT: DISK_FULL, errno.EFBIG: DISK_FULL, errno.EROFS: NOT_WRITABLE,
                    errno.EACCES: NOT_WRITABLE}  # fmt: skip

_NOTICED: ContextVar[list[str] | None] = ContextVar("lost database", default=None)
_log = logging.getLogger(__name__)


def watch() -> None:
    """From now on failures of every engine of this process are noticed."""
    if not sa.event.contains(sa.Engine, "handle_error", _notice):
        sa.event.listen(sa.Engine, "handle_error", _notice)


@contextmanager
def noticing() -> Iterator[list[str]]:
    """What goes wrong while the block runs, in this task and in threads that it asks; one sentence each."""
    found: list[str] = []
    token = _NOTICED.set(found)
    try:
        yield found
    finally:
        _NOTICED.reset(token)


def sentence_of(problem: BaseException | None) -> str | None:
    """What to say where ``problem``, or what it came from, is a database or a disk that cannot work now; else None."""
    seen: set[int] = set()
    while problem is not None and id(problem) not in seen:
        seen.add(id(problem))
        if found := _one(problem):
            return found
        problem = problem.__cause__ or problem.__context__
    return None


def _one(problem: BaseException) -> str | None:
    if isinstance(problem, sa.exc.TimeoutError):  # every connection of the pool is in use
        return BUSY
    if isinstance(problem, sa.exc.DBAPIError):
        return STOPPED if problem.connection_invalidated else _of_database(problem.orig)
    if isinstance(problem, OSError):
        return _OF_FILES.get(problem.errno or 0)
    return _of_database(problem)


def _of_database(problem: Any) -> str | None:
    if isinstance(problem, sqlite3.Error):
        code = getattr(problem, "sqlite_errorcode", None)
        if code is None:
            return None
        if code == sqlite3.SQLITE_READONLY_DBMOVED:
            return EXCHANGED
        return DAMAGED if "no such table" in str(problem) else _OF_SQLITE.get(code & 0xFF)
    kinds = {kind.__name__ for kind in type(problem).__mro__ if kind.__module__.startswith("psycopg2")}
    if not kinds:
        return None
    state = getattr(problem, "pgcode", None)
    if state is None:  # nobody was there to give one
        return STOPPED if kinds & {"OperationalError", "InterfaceError"} else None
    return next((_OF_POSTGRESQL[state[:length]] for length in (5, 3, 2) if state[:length] in _OF_POSTGRESQL), None)


def _notice(context: sa.engine.ExceptionContext) -> None:
    if context.is_pre_ping:  # a connection that was lost earlier; another is opened
        return
    sentence = STOPPED if context.is_disconnect else sentence_of(context.original_exception)
    found = _NOTICED.get()
    if sentence is not None and found is not None:
        if not found:
            _log.error("%s (%s)", sentence, without_hashes(" ".join(str(context.original_exception).split())[:300]))
        found.append(sentence)
