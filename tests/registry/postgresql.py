"""A real PostgreSQL on loopback: made in a temporary folder, gone afterwards."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


class Server:
    """A real PostgreSQL that the test may stop and start; its port stays."""

    def __init__(self, folder: Path, there: Path, encoding: str = "UTF8") -> None:
        self.folder, self._there = folder, there
        # PostgreSQL refuses to run as root, and its socket's path may have 107 characters at most.
        self._as_user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
        if self._as_user:
            shutil.chown(folder, "nobody", "nogroup")
        secret = folder / "secret"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._run(
            "initdb", "-U", USER, "--pwfile", str(secret), "-A", "scram-sha-256", "-E", encoding, "--no-locale", "--no-sync"
        )
        self.start()

    @property
    def address(self) -> sa.URL:
        return sa.URL.create("postgresql", USER, PASSWORD, "127.0.0.1", self.port, "postgres")

    def start(self) -> None:
        options = f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories={self.folder} -c fsync=off"
        self._run("pg_ctl", "-w", "-o", options, "-l", str(self.folder / "log"), "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as_user, str(self._there / program), "-D", str(self.folder / "data"), *arguments]
        subprocess.run(command, cwd=self.folder, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def server(encoding: str = "UTF8") -> Iterator[Server]:
    """A PostgreSQL of its own while the block runs; skips the test where none is installed."""
    there = programs()
    if there is None:
        pytest.skip("PostgreSQL is not installed; on Debian: apt install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    made = None
    try:
        made = Server(folder, there, encoding)
        yield made
    finally:
        if made is not None and (folder / "data" / "postmaster.pid").exists():
            made.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Callable[[], str]]:
    """Makes new databases; each call gives the SQLAlchemy address of one, password included."""
    with server() as made:
        yield lambda: new_database(made.address)


_MADE: list[str] = []


def new_database(address: sa.URL) -> str:
    name = f"plant_{len(_MADE)}"
    _MADE.append(name)
    engine = sa.create_engine(address, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return address.set(database=name).render_as_string(hide_password=False)
