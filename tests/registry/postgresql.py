"""A real PostgreSQL on loopback, for one test session: made in a temporary folder, gone afterwards."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

USER = "changeover"
PASSWORD = "only of this test"


def programs() -> Path | None:
    """The folder of the newest PostgreSQL's programs on this machine."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    return Path(initdb).parent if initdb else None


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Callable[[], str]]:
    """Makes new databases; each call gives the SQLAlchemy address of one, password included."""
    there = programs()
    if there is None:
        pytest.skip("PostgreSQL is not installed; on Debian: apt install postgresql")
    # PostgreSQL refuses to run as root, and its socket's path may have 107 characters at most.
    as_user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    if as_user:
        shutil.chown(folder, "nobody", "nogroup")
    secret = folder / "secret"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = folder / "data"

    def run(program: str, *arguments: str) -> None:
        subprocess.run([*as_user, there / program, "-D", data, *arguments], cwd=folder, check=True, stdout=subprocess.DEVNULL)

    try:
        run("initdb", "-U", USER, "--pwfile", str(secret), "-A", "scram-sha-256", "-E", "UTF8", "--no-locale", "--no-sync")
        options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder} -c fsync=off"
        run("pg_ctl", "-w", "-o", options, "-l", str(folder / "log"), "start")
        try:
            address = sa.URL.create("postgresql", USER, PASSWORD, "127.0.0.1", port, "postgres")
            yield lambda: _database(address)
        finally:
            run("pg_ctl", "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


_MADE: list[str] = []


def _database(address: sa.URL) -> str:
    name = f"plant_{len(_MADE)}"
    _MADE.append(name)
    engine = sa.create_engine(address, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return address.set(database=name).render_as_string(hide_password=False)
