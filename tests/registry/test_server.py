"""How the registry's server is started: with which database, and where the database's password goes."""

import configparser
from pathlib import Path

import pytest

from registry.errors import RegistryError
from registry.server import server_command

SECRET = "p@ss:w%rd/1"
ADDRESS = "postgresql://changeover:p%40ss%3Aw%25rd%2F1@db.example:5433/plant?sslmode=require"
BARE = "postgresql://changeover@db.example:5433/plant?sslmode=require"


def users_database(state: Path) -> str:
    settings = configparser.ConfigParser()
    settings.read(state / "users.ini")
    return settings["mlflow"]["database_uri"]


def test_sqlite_in_the_state_folder(tmp_path: Path) -> None:
    command, environment = server_command(tmp_path, 5000)
    assert command[command.index("--backend-store-uri") + 1] == f"sqlite:///{tmp_path}/mlflow.db"
    assert command[command.index("--workers") + 1] == "1"
    assert users_database(tmp_path) == f"sqlite:///{tmp_path}/users.db"
    assert "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE" not in environment


def test_the_databases_password_is_in_the_environment_alone(tmp_path: Path) -> None:
    command, environment = server_command(tmp_path, 5000, ADDRESS, workers=4)
    assert command[command.index("--backend-store-uri") + 1] == BARE
    assert command[command.index("--workers") + 1] == "4"
    assert users_database(tmp_path) == BARE
    assert environment["PGPASSWORD"] == SECRET
    for text in (*command, (tmp_path / "users.ini").read_text()):
        assert SECRET not in text and "p%40ss" not in text


def test_without_a_password_libpq_finds_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "of the caller")
    command, environment = server_command(tmp_path, 5000, "postgresql://changeover@/plant?host=/run/my%20sockets")
    assert environment["PGPASSWORD"] == "of the caller"
    assert users_database(tmp_path) == command[command.index("--backend-store-uri") + 1]


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
