"""Users, their roles, and the secrets of a plant's registry.

Roles are MLflow's own roles of the same names: an administrator sees and assigns them in MLflow's pages too. What MLflow's
permissions behind a role allow is only the outer fence; ``registry.rules.rules`` decides.
"""

import os
import re
import secrets
import stat
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from registry.errors import Refused
from registry.names import ADMIN, PROMOTER, QA, ROLES, TRAINER, USER, VIEWER

if TYPE_CHECKING:
    from registry.client.connection import Connection

ADMIN_USER: Final = "admin"
TRAINER_USER: Final = "trainer"
PROMOTER_USER: Final = "promoter"
WORKSPACE: Final = "default"
SHORTEST_PASSWORD: Final = 12

PERMISSIONS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    TRAINER: (("experiment", "EDIT"), ("registered_model", "EDIT"), ("registered_model_version", "EDIT")),
    PROMOTER: (("registered_model", "MANAGE"), ("registered_model_version", "READ")),
    # MANAGE, because MLflow asks for it to delete a tag; registry.rules.rules keeps everything else from them.
    QA: (("registered_model", "READ"), ("registered_model_version", "MANAGE")),
    VIEWER: (),
}
"""What MLflow itself grants a role, on every resource of a type. Everybody may read."""

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True)
class Secrets:
    """What the server and the two services need to know and nobody else."""

    session_key: str = field(repr=False)
    admin: str = field(repr=False)
    trainer: str = field(repr=False)
    promoter: str = field(repr=False)
    webhook: str = field(repr=False)
    """Signs what MLflow delivers to ``changeover serve``."""
    webhook_store: str = field(repr=False)
    """Encrypts the former in MLflow's database: a Fernet key."""


@dataclass(frozen=True)
class NewUser:
    """A user just created; the password is shown to the administrator once and kept nowhere."""

    name: str
    role: str
    password: str = field(repr=False)


def prepare(state_dir: Path, admin_password: str | None = None) -> Secrets:
    """The secrets of the registry whose state is ``state_dir``; writes those that are missing, each in a file of mode 0600.

    ``admin_password`` counts on the first start only; without it one is made up. Deleting the file of a service and
    starting the server again gives that service a new password. Raises ``Refused`` where others can read a secret.
    """
    if admin_password is not None and len(admin_password) < SHORTEST_PASSWORD:
        raise Refused(f"the admin's password has {len(admin_password)} characters, at least {SHORTEST_PASSWORD} are needed")
    folder = state_dir / "secrets"
    for one in (state_dir, folder):
        one.mkdir(mode=0o700, parents=True, exist_ok=True)
        if one.stat().st_mode & _OTHERS:
            one.chmod(0o700)
    return Secrets(
        session_key=kept_secret(folder / "session-key", _password),
        admin=kept_secret(folder / "admin-password", lambda: admin_password or _password()),
        trainer=kept_secret(folder / "trainer-password", _password),
        promoter=kept_secret(folder / "promoter-password", _password),
        webhook=kept_secret(folder / "webhook", _password),
        webhook_store=kept_secret(folder / "webhook-store", lambda: _password() + "="),
    )


def publisher_key_file(state_dir: Path) -> Path:
    """Where the key lies with which the promoter signs what it publishes; it is made at the first publishing."""
    return state_dir / "secrets" / "publisher-key"


def _password() -> str:
    return secrets.token_urlsafe(32)


def kept_secret(path: Path, make: Callable[[], str]) -> str:
    """The text in ``path``, which only its owner may read; where it is missing, what ``make`` gives is written there first.

    Raises ``Refused`` where others can read the file, or where it is empty.
    """
    if not path.exists():
        fresh = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(make())
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(fresh, path)  # fails where another process was first: its secret counts
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    if path.stat().st_mode & _OTHERS:
        raise Refused(f"{path} can be read by others: a secret has mode 600; run chmod 600 on it, and change what it holds")
    text = path.read_text(encoding="utf-8").strip()
    if not text:
        raise Refused(f"{path} is empty: a secret is never empty; delete the file and start again")
    return text


def private_file(path: Path) -> None:
    """Makes ``path`` a file that only its owner may read: empty where there was none, else as it was; so for what SQLite
    keeps beside a database of that name."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        for one in (path, *path.parent.glob(f"{path.name}-*")):
            if one.stat().st_mode & _OTHERS:
                one.chmod(0o600)


def add_user(connection: "Connection", name: str, password: str | None, role: str, full_name: str = "") -> NewUser:
    """Creates a user with one of ``names.ROLES``; ``connection`` is an administrator's. Without ``password`` makes one up.

    The user has to change the password before signing anything, because the administrator knows it. ``full_name`` is what
    signatures show.
    """
    if re.fullmatch(USER, name, re.ASCII) is None:
        raise Refused(f"user {name!r}: 1 to 63 letters, digits, '.', '_', '@' and '-', starting with a letter or digit")
    if role not in ROLES:
        raise Refused(f"role {role!r} is unknown: choose one of {', '.join(ROLES)}")
    if password is not None and len(password) < SHORTEST_PASSWORD:
        raise Refused(f"the password of {name} has {len(password)} characters, at least {SHORTEST_PASSWORD} are needed")
    user = NewUser(name, role, password or secrets.token_urlsafe(16))
    body = {"user": name, "password": user.password, "role": role, "name": full_name}
    connection.call("POST", "/changeover/users", json=body)
    return user


def give_name(connection: "Connection", user: str, full_name: str) -> None:
    """Enters the full name of ``user``, as an administrator; every later signature shows it."""
    connection.call("POST", "/changeover/people", json={"user": user, "name": full_name})


@dataclass(frozen=True)
class KnownUser:
    """A user as an administrator sees them. ``full_name`` is empty where none was entered."""

    name: str
    full_name: str
    roles: tuple[str, ...]


def list_users(connection: "Connection") -> list[KnownUser]:
    """All users by name; ``connection`` is an administrator's."""
    names = connection.call("GET", "/changeover/people")["people"]
    found = []
    for one in connection.call("GET", "/api/2.0/mlflow/users/list")["users"]:
        roles = {role["name"] for role in one["roles"]}.intersection(ROLES) | ({ADMIN} if one["is_admin"] else set())
        found.append(KnownUser(one["username"], names.get(one["username"], ""), tuple(sorted(roles))))
    return sorted(found, key=lambda one: one.name)


def change_password(connection: "Connection", new: str) -> "Connection":
    """Changes the password of the connection's own user; a connection with the new one."""
    if len(new) < SHORTEST_PASSWORD:
        raise Refused(f"the new password has {len(new)} characters, at least {SHORTEST_PASSWORD} are needed")
    body = {"username": connection.user, "password": new, "current_password": connection.password}
    connection.call("PATCH", "/api/2.0/mlflow/users/update-password", json=body)
    return replace(connection, password=new)


def create_roles_and_services(secrets_of_plant: Secrets) -> None:
    """Inside the server, at every start: our roles, and the two services with the passwords in their files."""
    from mlflow.exceptions import MlflowException
    from mlflow.server.auth import store

    held = {role.name: role for role in store.list_roles([WORKSPACE])}
    for name, permissions in PERMISSIONS.items():
        role = held.get(name)
        if role is None:
            try:
                role = store.create_role(name, WORKSPACE, f"Changeover: {name}")
            except MlflowException:  # another worker was first
                role = store.get_role_by_name(WORKSPACE, name)
        granted = {(one.resource_type, one.resource_pattern) for one in store.list_role_permissions(role.id)}
        for resource, permission in permissions:
            if (resource, "*") not in granted:
                store.add_role_permission(role.id, resource, "*", permission)
    for name, role_name, password in (
        (TRAINER_USER, TRAINER, secrets_of_plant.trainer),
        (PROMOTER_USER, PROMOTER, secrets_of_plant.promoter),
    ):
        if not store.has_user(name):
            store.create_user(name, password)
        elif not store.authenticate_user(name, password):
            store.update_user(name, password=password)
        user, role = store.get_user(name), store.get_role_by_name(WORKSPACE, role_name)
        if role.id not in {one.id for one in store.list_user_roles(user.id)}:
            store.assign_role_to_user(user.id, role.id)
