"""Users of a registry: adding, naming and listing them, and their passwords."""

import re
import secrets
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from registry.errors import Refused
from registry.names import ADMIN, ROLES, USER
from registry.secrets import SHORTEST_PASSWORD

if TYPE_CHECKING:
    from registry.client.connection import Connection


@dataclass(frozen=True)
class NewUser:
    """A user just created; the password is shown to the administrator once and kept nowhere."""

    name: str
    role: str
    password: str = field(repr=False)


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
