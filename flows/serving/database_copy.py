"""The registry's database as files, taken while the server runs, and laid into an empty database again.

SQLite's own backup call copies its files, ``pg_dump`` a PostgreSQL database. A password goes the ways that it always goes
(``PGPASSWORD``, ``~/.pgpass``), never over a command line.
"""

import os
import shutil
import sqlite3
import subprocess
from contextlib import ExitStack, closing
from pathlib import Path

import sqlalchemy as sa

from flows.errors import BackupError
from flows.plant import Plant
from registry.server.app import DATABASE
from registry.trail.guard_names import NAME

SQLITE = (DATABASE, "users.db")
DUMP = "registry.dump"
"""What a PostgreSQL database is kept as, in the custom format of ``pg_dump``."""
_BUSY_SECONDS = 60.0


def copy_database(plant: Plant, folder: Path) -> list[Path]:
    """Write the registry's database as of one moment into ``folder``; the files. None before the first ``up``. BackupError."""
    if plant.config.registry.database is not None:
        target = folder / DUMP
        _run("pg_dump", "--format=custom", f"--file={target}", f"--dbname={address(plant.config.registry.database)}")
        return [target]
    there = [plant.state / "mlflow" / name for name in SQLITE if (plant.state / "mlflow" / name).is_file()]
    try:
        return _copy_sqlite(there, folder)
    except sqlite3.Error as error:
        names = " and ".join(map(str, there))
        raise BackupError(f"{names} cannot be copied ({error}); see 'changeover doctor' and run again") from error


def has_trail(database: str) -> bool:
    """Whether a PostgreSQL database holds a registry's audit trail; False where it cannot be asked, which others tell."""
    try:
        engine = sa.create_engine(database, poolclass=sa.NullPool, connect_args={"connect_timeout": 5})
        return sa.inspect(engine).has_table(NAME)
    except (ImportError, sa.exc.SQLAlchemyError):
        return False


def check_empty(database: str) -> None:
    """BackupError where something is in the PostgreSQL database, or where it cannot be reached."""
    try:
        engine = sa.create_engine(database, poolclass=sa.NullPool, connect_args={"connect_timeout": 10})
        tables = sa.inspect(engine).get_table_names()
    except ImportError as error:
        raise BackupError("PostgreSQL needs psycopg2, which is not installed; pip install 'changeover[postgresql]'") from error
    except sa.exc.SQLAlchemyError as error:
        first = str(getattr(error, "orig", error)).strip().partition("\n")[0]
        raise BackupError(f"the database {database} cannot be reached ({first}); create it, and see PGPASSWORD") from error
    if tables:
        raise BackupError(f"the database {database} is not empty (it has table {sorted(tables)[0]}); give a new, empty one")


def restore_database(dump: Path, database: str) -> None:
    """Lay a dump into an empty PostgreSQL database, whole or not at all. BackupError where that fails."""
    options = ("--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction")
    _run("pg_restore", *options, f"--dbname={address(database)}", str(dump))


def address(database: str) -> str:
    """The address as PostgreSQL's programs read it: without SQLAlchemy's driver."""
    return sa.make_url(database).set(drivername="postgresql").render_as_string(hide_password=False)


def _copy_sqlite(sources: list[Path], folder: Path) -> list[Path]:
    copies = []
    with ExitStack() as opened:
        readers = []
        for source in sources:
            reader = opened.enter_context(
                closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=rw", uri=True, timeout=_BUSY_SECONDS))
            )
            reader.isolation_level = None
            readers.append(reader)
        for reader in readers:  # all of them as of now, before the first is copied
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
        for source, reader in zip(sources, readers, strict=True):
            copy = folder / source.name
            with closing(sqlite3.connect(copy)) as writer:
                reader.backup(writer)
                (verdict,) = writer.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise BackupError(f"{source} is damaged ({verdict}); restore it from the last good backup")
            copies.append(copy)
    return copies


def _run(program: str, *arguments: str) -> None:
    found = shutil.which(program)
    if found is None:
        raise BackupError(
            f"{program} is not on the PATH; install PostgreSQL's client, for example 'apt install postgresql-client'"
        )
    done = subprocess.run(
        [found, "--no-password", *arguments], env=os.environ | {"LC_ALL": "C.UTF-8"}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        verdict = next((line for line in lines if "error:" in line), lines[0])
        raise BackupError(f"{verdict[:400]}; see that the database is there and PGPASSWORD or ~/.pgpass fits, and run again")
