"""Roles, and the two services that have one.

Roles are MLflow's own roles of the same names: an administrator sees and assigns them in MLflow's pages too. What MLflow's
permissions behind a role allow is only the outer fence; ``registry.rules.rules`` decides.
"""

from typing import Final

from registry.names import PROMOTER, PROMOTER_USER, QA, TRAINER, TRAINER_USER, VIEWER
from registry.secrets import Secrets

WORKSPACE: Final = "default"

PERMISSIONS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    TRAINER: (("experiment", "EDIT"), ("registered_model", "EDIT"), ("registered_model_version", "EDIT")),
    PROMOTER: (("registered_model", "MANAGE"), ("registered_model_version", "READ")),
    # MANAGE, because MLflow asks for it to delete a tag; registry.rules.rules keeps everything else from them.
    QA: (("registered_model", "READ"), ("registered_model_version", "MANAGE")),
    VIEWER: (),
}
"""What MLflow itself grants a role, on every resource of a type. Everybody may read."""


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
