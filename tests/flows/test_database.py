"""``up`` and ``doctor`` say what is wrong with the plant's database before a server waits for it; against a real PostgreSQL."""

import builtins
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from flows.plant import Plant
from flows.serving import database
from flows.serving.database import NoDatabase, try_database
from flows.serving.servers import server_status, up
from flows.upkeep import doctor

from ..registry.postgresql import PASSWORD, Server, new_database, server

pytestmark = pytest.mark.servers
SECRET = "wrong and secret"


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Server]:
    """A server with a role that may log in, one that may not, and databases for both."""
    with server() as made:
        run(
            made.address,
            f"CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}'",
            f"CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'",
            "ALTER ROLE reader SET default_transaction_read_only = on",
            "GRANT changeover TO reader",
            "CREATE DATABASE plant",
            "CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0",
            "CREATE DATABASE shut",
            "REVOKE CONNECT ON DATABASE shut FROM PUBLIC",
        )
        yield made


def run(address: sa.URL, *statements: str) -> None:
    engine = sa.create_engine(address, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


@pytest.fixture(autouse=True)
def no_passwords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("PGPASSWORD", "PGPASSFILE", "PGSSLMODE"):
        monkeypatch.delenv(name, raising=False)


def using(plant: Plant, address: str) -> Plant:
    (plant.path / "changeover.yaml").write_text(f"registry: {{database: '{address}'}}\n")
    return Plant.open(plant.path)


def refused(plant: Plant, address: str) -> NoDatabase:
    with pytest.raises(NoDatabase) as raised:
        try_database(using(plant, address))
    told = str(raised.value)
    assert "\n" not in told and "; " in told and raised.value.fix
    assert PASSWORD not in told and SECRET not in told and "FATAL" not in told
    return raised.value


def at(postgresql: Server, role: str = "changeover", name: str = "plant", query: str = "") -> str:
    return f"postgresql://{role}@127.0.0.1:{postgresql.port}/{name}{query}"


@pytest.mark.parametrize(
    ("role", "name", "query", "found", "fix"),
    [
        ("changeover", "none", "", "there is no database none on 127.0.0.1:", "createdb --encoding UTF8 --owner changeover none"),
        ("changeover", "ascii", "", "the encoding of database ascii on 127.0.0.1:.* is SQL_ASCII, not UTF8", "--encoding UTF8"),
        ("guest", "plant", "", "role guest may not make tables in database plant .*permission denied", "GRANT CREATE ON SCHEMA"),
        ("reader", "plant", "", "database plant .* is read-only for role reader", "default_transaction_read_only"),
        ("guest", "shut", "", "role guest may not connect to shut", "GRANT CONNECT ON DATABASE shut TO guest"),
        ("no_such", "plant", "", "refuses role no_such: the password is wrong, or there is no such role", "PGPASSWORD"),
        ("changeover", "plant", "?sslmode=require", "asks for TLS, but 127.0.0.1:.* does not speak it", "drop sslmode"),
    ],
)
def test_what_is_wrong_is_said(
    plant: Plant, postgresql: Server, monkeypatch: pytest.MonkeyPatch, role: str, name: str, query: str, found: str, fix: str
) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    problem = refused(plant, at(postgresql, role, name, query))
    assert re.search(found, problem.found), problem.found
    assert fix in problem.fix, problem.fix


def test_a_password_that_is_missing_or_wrong(
    plant: Plant, postgresql: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, file = at(postgresql), tmp_path / "home" / ".pgpass"
    assert f"asks for a password of changeover, and there is none; write a file {file}" in str(refused(plant, address))
    line = f"127.0.0.1:{postgresql.port}:plant:changeover:"
    assert f"add the line {line}PASSWORD" in refused(plant, address).fix
    file.write_text(f"other.example:5432:*:*:{SECRET}\n")
    file.chmod(0o644)
    assert f"run 'chmod 600 {file}'" in refused(plant, address).fix
    file.chmod(0o600)
    assert f"PASSWORD to {file}, which has none for this server" in refused(plant, address).fix
    file.write_text(f"{line}{SECRET}\n")
    assert f"correct the password in {file}" in refused(plant, address).fix
    file.write_text(f"{line}{PASSWORD}\n")
    assert try_database(using(plant, address)).startswith("PostgreSQL 1")
    monkeypatch.setenv("PGPASSWORD", SECRET)  # goes before the file
    assert "correct the password in PGPASSWORD" in refused(plant, address).fix


def test_nobody_is_there(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(plant, "postgresql://a@127.0.0.1:1/x").found == "127.0.0.1:1 does not answer"
    assert refused(plant, "postgresql://a@no-such-host.invalid/x").found == "there is no machine called no-such-host.invalid"
    assert "does not answer" in refused(plant, "postgresql://a@/x?host=/no/such/socket").found
    real = builtins.__import__

    def without(name: str, *more: Any) -> Any:
        if name == "psycopg2":
            raise ImportError(name)
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.delitem(__import__("sys").modules, "psycopg2")
    assert "pip install 'changeover[postgresql]'" in refused(plant, "postgresql://a@127.0.0.1:1/x").fix


def test_a_server_that_is_too_old(plant: Plant, postgresql: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    monkeypatch.setattr(database, "OLDEST", 99)
    assert re.search("PostgreSQL 1.* is too old; it needs 99 or newer", str(refused(plant, at(postgresql))))


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (
            "hostssl all all 127.0.0.1/32 scram-sha-256",
            "lets role changeover not in from this machine, as the connection is without",
        ),
        ("host all all 127.0.0.1/32 reject", "lets role changeover not in from this machine"),
        ("host all all 127.0.0.1/32 ident", "says: "),
    ],
)
def test_who_is_not_let_in(plant: Plant, postgresql: Server, monkeypatch: pytest.MonkeyPatch, rule: str, said: str) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    rules = postgresql.folder / "data" / "pg_hba.conf"
    before = rules.read_text()
    engine = sa.create_engine(postgresql.address, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        try:
            rules.write_text(f"{rule}\n")
            connection.exec_driver_sql("SELECT pg_reload_conf()")
            problem = refused(plant, at(postgresql))
        finally:
            rules.write_text(before)
            connection.exec_driver_sql("SELECT pg_reload_conf()")
    engine.dispose()
    assert said in problem.found


def test_tls(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed, which makes the certificate")
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    with server() as made:
        data = made.folder / "data"
        files = [data / "server.key", data / "server.crt"]
        names = ["-keyout", str(files[0]), "-out", str(files[1]), "-subj", "/CN=plant"]
        subprocess.run([openssl, "req", "-x509", "-nodes", "-newkey", "rsa:2048", *names], check=True, capture_output=True)
        for file in files:
            file.chmod(0o600)
            shutil.chown(file, data.stat().st_uid, data.stat().st_gid)
        (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
        (data / "postgresql.auto.conf").write_text("ssl = on\n")
        made.stop()
        made.start()
        address = at(made, name="postgres")
        assert try_database(using(plant, address)).startswith("PostgreSQL")
        without = refused(plant, f"{address}?sslmode=disable")
        assert "as the connection is without TLS" in without.found and "?sslmode=require" in without.fix
        unknown = refused(plant, f"{address}?sslmode=verify-full&sslrootcert=/no/such")
        assert "certificate of 127.0.0.1" in unknown.found and "sslrootcert=FILE" in unknown.fix
        other = refused(plant, f"{address}?sslmode=verify-full&sslrootcert={files[1]}")
        assert "is not accepted" in other.found


def test_a_good_database_keeps_nothing_of_the_look(plant: Plant, postgresql: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    made = sa.make_url(new_database(postgresql.address))
    assert f"database {made.database} on 127.0.0.1" in try_database(using(plant, at(postgresql, name=str(made.database))))
    engine = sa.create_engine(made)
    assert sa.inspect(engine).get_table_names() == []
    engine.dispose()


def test_up_and_doctor_say_it_at_once_and_start_nothing(plant: Plant, postgresql: Server) -> None:
    place = using(plant, at(postgresql))
    with pytest.raises(NoDatabase, match="asks for a password of changeover, and there is none"):
        up(place)
    assert not any(one.running for one in server_status(place).values())
    (finding,) = (one for one in doctor.examine(place.path) if one.what == "database")
    assert finding.state == "error" and "asks for a password" in finding.found and ".pgpass" in finding.fix


def test_sqlite(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "made at the first start" in try_database(plant)
    file = plant.state / "mlflow" / "mlflow.db"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"no database" * 100)
    with pytest.raises(NoDatabase, match="file is not a database; see whether another program holds it, or restore it"):
        try_database(plant)
    look: Callable[..., bool] = lambda path, mode: path != file  # noqa: E731 - root may write everywhere
    monkeypatch.setattr("os.access", look)
    with pytest.raises(NoDatabase, match="cannot be written; give this account"):
        try_database(plant)
