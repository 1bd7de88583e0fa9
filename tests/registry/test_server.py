"""How the registry's server is started: with which database, and where the database's password goes."""

import configparser
import os
import stat
from pathlib import Path

import pytest

from registry.errors import RegistryError
from registry.server.app import STORE, server_command
from registry.server.limits import VARIABLE, Limits, of_environment

SECRET = "p@ss:w%rd/1"
ADDRESS = "postgresql://changeover:p%40ss%3Aw%25rd%2F1@db.example:5433/plant?sslmode=require"
BARE = "postgresql://changeover@db.example:5433/plant?sslmode=require"


def users_database(state: Path) -> str:
    settings = configparser.ConfigParser()
    settings.read(state / "users.ini")
    return settings["mlflow"]["database_uri"]


def test_sqlite_in_the_state_folder(tmp_path: Path) -> None:
    command, environment = server_command(tmp_path, 5000)
    assert environment[STORE] == f"sqlite:///{tmp_path}/mlflow.db"
    assert command[command.index("--workers") + 1] == "1"
    assert users_database(tmp_path) == f"sqlite:///{tmp_path}/users.db"
    assert "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE" not in environment


def test_what_mlflow_tells_its_workers_is_told(tmp_path: Path) -> None:
    """By the names of the installed MLflow."""
    from mlflow import environment_variables
    from mlflow.server import constants

    _, environment = server_command(tmp_path, 5000)
    told = {name for name in environment if name.startswith("_MLFLOW_")}
    wanted = ("BACKEND_STORE_URI", "REGISTRY_STORE_URI", "ARTIFACT_ROOT", "ARTIFACTS_DESTINATION", "SERVE_ARTIFACTS")
    known = {getattr(constants, f"{name}_ENV_VAR") for name in wanted}
    known |= {
        getattr(environment_variables, f"_MLFLOW_{name}").name for name in ("SERVER_BOOT_ID", "SGI_NAME", "IN_JOB_EXECUTOR")
    }
    assert told == known


def test_the_databases_password_is_in_the_environment_alone(tmp_path: Path) -> None:
    command, environment = server_command(tmp_path, 5000, ADDRESS, workers=4)
    assert environment[STORE] == BARE
    assert command[command.index("--workers") + 1] == "4"
    assert users_database(tmp_path) == BARE
    assert environment["PGPASSWORD"] == SECRET
    for text in (*command, (tmp_path / "users.ini").read_text()):
        assert SECRET not in text and "p%40ss" not in text


def test_without_a_password_libpq_finds_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "of the caller")
    _, environment = server_command(tmp_path, 5000, "postgresql://changeover@/plant?host=/run/my%20sockets")
    assert environment["PGPASSWORD"] == "of the caller"
    assert users_database(tmp_path) == environment[STORE]


@pytest.mark.parametrize(
    ("database", "workers", "words"),
    [
        ("mysql://u@h/n", 1, "mysql cannot hold the registry"),
        ("secret", 1, "the address of the database is none"),
        ("postgresql://u@h/n?password=secret", 1, r"given as \?password="),
        (None, 0, "0 workers are out of range: choose 1 to 32"),
    ],
)
def test_what_cannot_be_started(tmp_path: Path, database: str | None, workers: int, words: str) -> None:
    with pytest.raises(RegistryError, match=words) as error:
        server_command(tmp_path, 5000, database, workers)
    assert "secret" not in str(error.value)


def option(command: list[str], name: str) -> list[str]:
    """The words of uvicorn's options from ``name`` on; none where it is not there."""
    return command[command.index(name) :] if name in command else []


def test_no_proxy_is_believed_unless_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UVICORN_PROXY_HEADERS", "UVICORN_ROOT_PATH", "FORWARDED_ALLOW_IPS", "WEB_CONCURRENCY"):
        monkeypatch.setenv(name, "1")
    command, environment = server_command(tmp_path, 5000)
    assert option(command, "--no-proxy-headers") and not option(command, "--proxy-headers")
    assert not [name for name in environment if name.startswith(("UVICORN_", "FORWARDED_", "WEB_"))]
    command, _ = server_command(tmp_path, 5000, trusted_proxy="10.0.0.7")
    assert option(command, "--proxy-headers") and option(command, "--forwarded-allow-ips")[1] == "10.0.0.7"
    assert not option(command, "--no-proxy-headers")


@pytest.mark.parametrize("proxy", ["*", "", "proxy.example", "10.0.0.0/8", "127.0.0.1,10.0.0.1"])
def test_a_trusted_proxy_is_one_address(tmp_path: Path, proxy: str) -> None:
    with pytest.raises(RegistryError, match="is no IP address; give one"):
        server_command(tmp_path, 5000, trusted_proxy=proxy)


def test_limits_travel_to_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, environment = server_command(tmp_path, 5000, limits=Limits(body_bytes=1000, connections=9))
    monkeypatch.setenv(VARIABLE, environment[VARIABLE])
    assert of_environment() == Limits(body_bytes=1000, connections=9)
    for text in ("", "[]", '{"body": 1}', "7", "[" * 100):
        monkeypatch.setenv(VARIABLE, text)
        with pytest.raises(RegistryError, match="holds no limits"):
            of_environment()


@pytest.mark.parametrize(
    ("field", "value"),
    [("body_bytes", 0), ("body_bytes", 1.5), ("connections", True), ("head_seconds", -1), ("head_seconds", float("nan")),
     ("silence_seconds", "30"), ("body_seconds", float("inf")), ("artifact_bytes", 1000)],
)  # fmt: skip
def test_limits_that_are_none(field: str, value: object) -> None:
    with pytest.raises(RegistryError, match=r"has to be|allow artifacts more"):
        Limits(**{field: value})  # type: ignore[arg-type]


def modes(state: Path) -> dict[str, int]:
    return {str(path.relative_to(state)): stat.S_IMODE(path.stat().st_mode) for path in [state, *state.rglob("*")]}


def test_what_the_registry_keeps_is_its_accounts_alone_from_the_first_moment(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        server_command(tmp_path / "state", 5000)
    finally:
        os.umask(before)
    found = modes(tmp_path / "state")
    assert {"mlflow.db", "users.db", "users.ini", "secrets/admin-password"} <= set(found)
    assert {name: oct(mode) for name, mode in found.items() if mode & 0o077} == {}


def test_a_plant_that_others_can_read_is_mended_when_it_starts(tmp_path: Path) -> None:
    server_command(tmp_path, 5000)
    for name in ("mlflow.db", "users.db", "users.db-journal", "mlflow.db-wal", "mlflow.db-shm", "users.ini"):
        (tmp_path / name).write_bytes(b"kept")
        (tmp_path / name).chmod(0o644)
    for folder in (tmp_path, tmp_path / "secrets", tmp_path / "artifacts"):
        folder.chmod(0o755)
    server_command(tmp_path, 5000)
    open_to_others = {name: oct(mode) for name, mode in modes(tmp_path).items() if mode & 0o077}
    assert set(open_to_others) <= {"artifacts"}, "what lies in a folder that is closed is closed"
    assert (tmp_path / "users.db").read_bytes() == b"kept"


def test_a_secret_that_others_could_read_is_not_used(tmp_path: Path) -> None:
    server_command(tmp_path, 5000)
    (tmp_path / "secrets" / "webhook").chmod(0o640)
    with pytest.raises(RegistryError, match="can be read by others"):
        server_command(tmp_path, 5000)
