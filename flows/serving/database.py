"""The plant's database, asked before a server is started on it: what is wrong, in words, and what helps.

A server whose database lets nobody in tries for a long time and then says something else. No password is ever part of a message.
"""

import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from flows.errors import PlantError
from flows.plant import Plant
from registry.server.app import DATABASE
from registry.server.lost_database import FULL, sentence_of

SECONDS: Final = 10
"""How long a server has to answer."""
OLDEST: Final = 12
"""PostgreSQL's oldest release that has all that the trail's proof asks for."""
_PROBE: Final = "changeover_probe"
_SETTING: Final = "correct registry.database in changeover.yaml"


class NoDatabase(PlantError):
    """The plant's database cannot hold the registry as it is. ``found`` is what was seen, ``fix`` what helps."""

    def __init__(self, found: str, fix: str) -> None:
        super().__init__(f"the plant's database: {found}; {fix}")
        self.found, self.fix = found, fix


def try_database(plant: Plant) -> str:
    """Connects and makes a table that it takes back; what was found, in words. ``NoDatabase`` where that fails."""
    address = plant.config.registry.database
    return _try_sqlite(plant.state / "mlflow" / DATABASE) if address is None else _try_postgresql(sa.make_url(address))


def _try_sqlite(file: Path) -> str:
    if not file.exists():
        return "SQLite, made at the first start"
    if not os.access(file, os.W_OK) or not os.access(file.parent, os.W_OK):
        raise NoDatabase(f"{file} cannot be written", "give this account the right to write it and its folder")
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=SECONDS)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as problem:
        raise NoDatabase(f"{file}: {problem}", "see whether another program holds it, or restore it from the backup") from problem
    return f"SQLite, {file}"


def _try_postgresql(address: sa.URL) -> str:
    try:
        engine = sa.create_engine(address, poolclass=sa.NullPool, connect_args={"connect_timeout": SECONDS})
    except ImportError as problem:
        fix = "run pip install 'changeover[postgresql]'"
        raise NoDatabase("PostgreSQL needs psycopg2, which is not installed", fix) from problem
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError) as problem:
        raise NoDatabase("its address cannot be read", "give it as postgresql://user@host/name") from problem
    try:
        with engine.connect() as connection:
            return _fit(connection, address)
    except sa.exc.DBAPIError as problem:
        raise _explained(str(problem.orig), address) from problem
    finally:
        engine.dispose()


def _fit(connection: sa.Connection, address: sa.URL) -> str:
    def ask(statement: str) -> str:
        return str(connection.exec_driver_sql(statement).scalar())

    version, place = ask("SHOW server_version"), _place(address)
    if int(ask("SHOW server_version_num")) < OLDEST * 10_000:
        raise NoDatabase(f"PostgreSQL {version} on {place} is too old", f"it needs {OLDEST} or newer: move to a newer server")
    if (encoding := ask("SHOW server_encoding")) != "UTF8":
        raise NoDatabase(f"the encoding of {place} is {encoding}, not UTF8", "make it anew with 'createdb --encoding UTF8'")
    if ask("SELECT pg_is_in_recovery()") == "True":
        raise NoDatabase(f"{place} is a standby, which only copies another server", _SETTING)
    if ask("SHOW transaction_read_only") == "on":
        raise NoDatabase(
            f"{place} is read-only for role {address.username or ask('SELECT current_user')}",
            "set default_transaction_read_only to off for role and database",
        )
    try:
        connection.exec_driver_sql(f"CREATE TABLE {_PROBE} (x integer)")
    except sa.exc.DBAPIError as problem:
        if sentence_of(problem) == FULL:
            raise NoDatabase(f"the disk of {place} is full", "free some space") from problem
        role = address.username or "who logs in"
        fix = f"let the database's owner run GRANT CREATE ON SCHEMA public TO {role}, or make {role} the owner"
        raise NoDatabase(f"role {role} may not make tables in {place} ({_first(str(problem.orig))})", fix) from problem
    finally:
        connection.rollback()
    return f"PostgreSQL {version.split()[0]}, {place}"


def _explained(said: str, address: sa.URL) -> NoDatabase:
    """What libpq says when it gets no connection, in our words where we know it."""
    role, host, name = address.username or "(this account's name)", _host(address), address.database
    if "no password supplied" in said:
        return NoDatabase(f"{host} asks for a password of {role}, and there is none", _missing_password(address))
    if "password authentication failed" in said:
        kept = re.search(r'password retrieved from file "([^"]+)"', said)
        source = kept.group(1) if kept else "PGPASSWORD" if os.environ.get("PGPASSWORD") else str(_password_file())
        found = f"{host} refuses role {role}: the password is wrong, or there is no such role"
        return NoDatabase(found, f"correct the password in {source}, or make the role with 'createuser --pwprompt {role}'")
    if re.search(r'role "[^"]*" (does not exist|is not permitted to log in)', said):
        return NoDatabase(f"{_first(said)} on {host}", f"make it with 'createuser --login --pwprompt {role}', or {_SETTING}")
    if re.search(r'database "[^"]*" does not exist', said):
        fix = f"make it with 'createdb --encoding UTF8 --owner {role} {name}', or {_SETTING}"
        return NoDatabase(f"there is no database {name} on {host}", fix)
    if "permission denied for database" in said:
        return NoDatabase(f"role {role} may not connect to {name}", f"run GRANT CONNECT ON DATABASE {name} TO {role}")
    return _of_transport(said, role, host)


def _of_transport(said: str, role: str, host: str) -> NoDatabase:
    if "no pg_hba.conf entry" in said or "pg_hba.conf rejects" in said:
        plainly = ", as the connection is without TLS" if "no encryption" in said or "SSL off" in said else ""
        fix = "add ?sslmode=require to registry.database if it asks for TLS, or add a line to its pg_hba.conf"
        return NoDatabase(f"{host} lets role {role} not in from this machine{plainly}", fix)
    for words, found, fix in _TRANSPORT:
        if re.search(words, said):
            return NoDatabase(found.format(host=host, said=_first(said)), fix)
    return NoDatabase(f"{host} says: {_first(said)}", _SETTING)


_TRANSPORT: Final = (
    (
        "does not support SSL",
        "registry.database asks for TLS, but {host} does not speak it",
        "switch ssl on there, or drop sslmode",
    ),
    (
        r"certificate|SSL error|root\.crt",
        "the TLS certificate of {host} is not accepted ({said})",
        "name the authority's certificate with ?sslrootcert=FILE in registry.database",
    ),
    ("could not translate host name", "there is no machine called {host}", _SETTING),
    (
        "starting up|shutting down|recovery mode|too many clients|connection slots",
        "{host} takes no connection now ({said})",
        "try again in a minute, or raise max_connections",
    ),
    (
        "refused|timeout|timed out|No route|unreachable|No such file|server closed the connection",
        "{host} does not answer",
        f"see that PostgreSQL runs there and listens, or {_SETTING}",
    ),
)


def _missing_password(address: sa.URL) -> str:
    """Where libpq looked for a password, and why it found none there."""
    file = _password_file()
    place = (address.host or "localhost", address.port or 5432, address.database, address.username)
    line = f"add the line {':'.join(map(str, place))}:PASSWORD"
    if not file.exists():
        return f"write a file {file} of mode 0600 and {line}, or set PGPASSWORD"
    if file.stat().st_mode & 0o077:
        return f"run 'chmod 600 {file}': others may read it now, so PostgreSQL's client does not use it"
    return f"{line} to {file}, which has none for this server, database and role, or set PGPASSWORD"


def _password_file() -> Path:
    return Path(os.environ.get("PGPASSFILE") or Path.home() / ".pgpass")


def _host(address: sa.URL) -> str:
    host = address.host or address.query.get("host") or "this machine's PostgreSQL"
    return f"{host}:{address.port}" if address.port else f"{host}"


def _place(address: sa.URL) -> str:
    return f"database {address.database} on {_host(address)}"


def _first(said: str) -> str:
    """The first line of what was said, without the connection's address before it."""
    line = next((one for one in said.splitlines() if one.strip()), "nothing")
    return line.rpartition("FATAL:")[2].rpartition("ERROR:")[2].strip()[:200]
