"""Secrets, users, and the command that starts the server."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from registry.client.connection import Connection
from registry.client.users import add_user
from registry.errors import Refused, RegistryError, Unreachable
from registry.secrets import prepare
from registry.server.app import create_app, server_command

from .conftest import Registry


def test_secrets_are_made_once_and_for_nobody_else(tmp_path: Path) -> None:
    first = prepare(tmp_path)
    assert prepare(tmp_path) == first
    assert len({*vars(first).values()}) == 6
    files = sorted((tmp_path / "secrets").iterdir())
    names = ["admin-password", "promoter-password", "session-key", "trainer-password", "webhook", "webhook-store"]
    assert [file.name for file in files] == names
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert first.admin not in repr(first)
    (tmp_path / "secrets" / "trainer-password").unlink()
    assert prepare(tmp_path).trainer != first.trainer


def test_secrets_made_at_once_are_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as all_at_once:
        found = set(all_at_once.map(lambda _: prepare(tmp_path), range(8)))
    assert len(found) == 1
    assert len(list((tmp_path / "secrets").iterdir())) == 6


def test_secrets_that_others_read_are_refused(tmp_path: Path) -> None:
    prepare(tmp_path, admin_password="chosen by somebody")
    path = tmp_path / "secrets" / "admin-password"
    assert path.read_text() == "chosen by somebody"
    path.chmod(0o644)
    with pytest.raises(Refused, match="run chmod 600 on it"):
        prepare(tmp_path)
    path.chmod(0o600)
    path.write_text("\n")
    with pytest.raises(Refused, match="is empty"):
        prepare(tmp_path)
    with pytest.raises(Refused, match="at least 12"):
        prepare(tmp_path / "other", admin_password="short")


def test_server_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "of somebody")
    command, environment = server_command(tmp_path / "state", 5000)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert "PYTHONDONTWRITEBYTECODE" not in environment
    assert "MLFLOW_TRACKING_PASSWORD" not in environment
    assert environment["PATH"] == os.environ["PATH"]
    secret = prepare(tmp_path / "state")
    assert not {secret.admin, secret.session_key} & {*command, *environment.values()}
    with pytest.raises(RegistryError, match="choose one from 1 to 65535"):
        server_command(tmp_path / "state", 0)


def test_the_app_wants_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("", "/nowhere"):
        monkeypatch.setenv("CHANGEOVER_STATE", value)
        with pytest.raises(RegistryError, match="server_command"):
            create_app()


def test_connections_keep_their_password_to_themselves() -> None:
    connection = Connection("http://127.0.0.1:9/", "ana", "very secret")
    assert "very secret" not in repr(connection)
    assert connection.url == "http://127.0.0.1:9"
    with pytest.raises(Unreachable, match="does not answer"):
        connection.check()
    for url in ("127.0.0.1:5000", "ftp://host", "http://ana:very-secret@host", ""):
        with pytest.raises(RegistryError, match="give it as http://host:port") as caught:
            Connection(url, "ana", "very secret")
        assert "very-secret" not in str(caught.value)


@pytest.mark.servers
def test_adding_users(registry: Registry) -> None:
    made = add_user(registry.admin, "cleo", None, "qa")
    assert Connection(registry.url, "cleo", made.password).check()["roles"] == ["qa"]
    assert made.password not in repr(made)
    boss = add_user(registry.admin, "boss", None, "admin")
    assert Connection(registry.url, "boss", boss.password).check()["roles"] == ["admin"]
    with pytest.raises(Refused, match="already exists"):
        add_user(registry.admin, "cleo", None, "viewer")
    with pytest.raises(Refused, match="only role admin does"):
        add_user(registry.ana, "dora", None, "viewer")
    for name, password, role, words in (
        ("a b", None, "qa", "1 to 63"),
        ("dora", None, "owner", "choose one of"),
        ("dora", "short", "qa", "at least 12"),
    ):
        with pytest.raises(Refused, match=words):
            add_user(registry.admin, name, password, role)


@pytest.mark.servers
def test_changing_ones_own_password(registry: Registry) -> None:
    made = add_user(registry.admin, "dan", None, "viewer")
    dan, fresh = Connection(registry.url, "dan", made.password), "another long password"
    change = {"username": "dan", "password": fresh, "current_password": made.password}
    dan.call("PATCH", "/api/2.0/mlflow/users/update-password", json=change)
    assert Connection(registry.url, "dan", fresh).check()["user"] == "dan"
    with pytest.raises(Refused, match="does not know user 'dan'"):
        dan.check()
    with pytest.raises(Refused, match="only role admin does"):
        registry.vic.call("PATCH", "/api/2.0/mlflow/users/update-password", json=change)
    assert fresh.encode() not in registry.database.read_bytes()
