"""Reads what a request tries with users, passwords and roles, exactly as MLflow's own handler will read it, and judges it."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from flask import request
from mlflow.exceptions import MlflowException
from mlflow.server import auth

from registry.names import ADMIN_USER, PROMOTER_USER, QA, ROLES, TRAINER_USER, USER
from registry.rules import rules
from registry.rules.facts import Person
from registry.server.attempts import Attempt
from registry.trail.events import Trail
from registry.trail.people import CREATED, DELETED, PASSWORD, ROLE_GIVEN, People

ROLE_TAKEN = "role.unassign"
ADMINISTRATOR = "user.admin"
_OF_PLANT = (ADMIN_USER, TRAINER_USER, PROMOTER_USER)


def create_user(who: Person, trail: Trail) -> Attempt:
    """From a program, or from MLflow's page for it, which sends a form."""
    name = request.form.get("username", "") if request.path.endswith("/create-ui") else _param("username")
    refusal = rules.administer(who, f"create user '{_shown(name)}'") or user_name_problem(name, trail)
    return Attempt(CREATED, refusal, subject=_shown(name))


def user_name_problem(name: object, trail: Trail) -> str | None:
    """Why nobody can be called ``name``, or be called so again; None where a new user can."""
    if not isinstance(name, str) or re.fullmatch(USER, name, re.ASCII) is None:
        return (
            f"'{_shown(name)}' cannot name a user: 1 to 63 letters, digits, '.', '_', '@' and '-', and first a letter or digit;"
            " choose such a name"
        )
    if any(one.username.casefold() == name.casefold() for one in auth.store.list_users()):
        return f"user '{name}' already exists, perhaps written otherwise; choose another name"
    if People(trail).was_deleted(name):
        return f"a user '{name}' was deleted, and the trail speaks of that person by this name for ever; choose another name"
    return None


def set_password(who: Person, _trail: Trail) -> Attempt:
    """One's own, for which MLflow asks for the present one; or an administrator somebody else's."""
    name = _param("username")
    refusal = None if name == who.name else rules.administer(who, f"set the password of '{_shown(name)}'")
    return Attempt(PASSWORD, refusal, subject=_shown(name))


def set_administrator(who: Person, _trail: Trail) -> Attempt:
    name, value = _param("username"), _param("is_admin")
    refusal = rules.administer(who, f"make '{_shown(name)}' an administrator or none")
    if refusal is None and name in (TRAINER_USER, PROMOTER_USER) and value:
        refusal = f"'{name}' is a service and no administrator; make a person one"
    return Attempt(ADMINISTRATOR, refusal, subject=_shown(name), after=str(value))


def delete_user(who: Person, _trail: Trail) -> Attempt:
    name = _param("username")
    refusal = rules.administer(who, f"delete user '{_shown(name)}'")
    if refusal is None and name in _OF_PLANT:
        refusal = f"'{name}' belongs to the plant, which cannot work without it; it stays"
    return Attempt(DELETED, refusal, subject=_shown(name))


def assign_role(who: Person, trail: Trail) -> Attempt:
    return _role_of_user(who, trail, ROLE_GIVEN, "give")


def unassign_role(who: Person, trail: Trail) -> Attempt:
    return _role_of_user(who, trail, ROLE_TAKEN, "take from")


def _role_of_user(who: Person, _trail: Trail, action: str, verb: str) -> Attempt:
    name, role = _param("username"), _role_name(_param("role_id"))
    refusal = rules.administer(who, f"{verb} '{_shown(name)}' role '{role}'")
    if refusal is None and action == ROLE_GIVEN and role == QA:
        if name in _OF_PLANT:
            refusal = f"'{name}' belongs to the plant and is no person, so it signs nothing; give role {QA} to a person"
        elif name == who.name:
            refusal = f"nobody makes themselves a signer, and '{name}' asks for role {QA}; another administrator gives it"
    return Attempt(action, refusal, subject=_shown(name), after=role)


def change_role(who: Person, trail: Trail) -> Attempt:
    """Creates, renames, describes or deletes a role. Ours stay as they are, and no other may be taken for one of them."""
    from registry.server.run_attempts import administration

    attempt = administration(who, trail)
    named = [str(value).strip().casefold() for value in (_optional("name"), _role_name(_optional("role_id"))) if value]
    ours = next((one for one in named if one in ROLES), None)
    if attempt.refusal is None and ours is not None:
        return replace(attempt, refusal=f"role '{ours}' is one of the registry's own and stays as it is; use another name")
    return attempt


def _role_name(role_id: object) -> str:
    try:
        return str(auth.store.get_role(int(str(role_id))).name)
    except (MlflowException, ValueError):
        return _shown(role_id) if role_id is not None else ""


def _optional(key: str) -> Any:
    try:
        return _param(key)
    except MlflowException:
        return None


_param: Callable[[str], Any] = auth._get_request_param


def _shown(value: object) -> str:
    return str(value)[:100]
