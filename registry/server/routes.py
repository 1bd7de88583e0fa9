"""Which reader judges which request of MLflow's API. What no line here names is for administrators."""

import re

from flask import request

from registry.server import attempts, registration, run_attempts, user_attempts
from registry.server.attempts import Reader

# POST requests that only read.
_READS = frozenset(
    (
        "mlflow/experiments/search",
        "mlflow/experiments/search-datasets",
        "mlflow/runs/search",
        "mlflow/logged-models/search",
        "mlflow/datasets/search",
        "mlflow/registered-models/get-latest-versions",
        "mlflow/traces/search",
        "mlflow/traces/batchGetInfos",
        "mlflow/traces/metrics",
        "mlflow/traces/calculate-filter-correlation",
        "mlflow/issues/search",
        "mlflow/prompt-optimization/jobs/search",
        "mlflow/artifacts/presigned-download-url",
        "mlflow/ui-telemetry",
    )
)

_READERS: dict[tuple[str, str], Reader] = {
    ("POST", "mlflow/model-versions/create"): registration.register,
    ("POST", "mlflow/model-versions/set-tag"): attempts.set_version_tag,
    ("DELETE", "mlflow/model-versions/delete-tag"): attempts.delete_version_tag,
    ("DELETE", "mlflow/model-versions/delete"): attempts.delete_version,
    ("PATCH", "mlflow/model-versions/update"): attempts.update_version,
    ("POST", "mlflow/model-versions/transition-stage"): attempts.transition,
    ("POST", "mlflow/registered-models/alias"): attempts.set_alias,
    ("DELETE", "mlflow/registered-models/alias"): attempts.delete_alias,
    ("POST", "mlflow/registered-models/create"): attempts.create_model,
    ("PATCH", "mlflow/registered-models/update"): attempts.update_model,
    ("POST", "mlflow/registered-models/set-tag"): attempts.set_model_tag,
    ("DELETE", "mlflow/registered-models/delete-tag"): attempts.delete_model_tag,
    ("DELETE", "mlflow/registered-models/delete"): attempts.delete_model,
    ("POST", "mlflow/registered-models/rename"): attempts.rename_model,
    ("POST", "mlflow/experiments/create"): run_attempts.create_experiment,
    **{
        ("POST", f"mlflow/experiments/{name}"): run_attempts.change_experiment
        for name in ("update", "delete", "restore", "set-experiment-tag", "delete-experiment-tag")
    },
    ("DELETE", "mlflow/experiments/delete-experiment-tag"): run_attempts.change_experiment,
    ("POST", "mlflow/users/create"): user_attempts.create_user,
    ("POST", "mlflow/users/create-ui"): user_attempts.create_user,
    ("PATCH", "mlflow/users/update-password"): user_attempts.set_password,
    ("PATCH", "mlflow/users/update-admin"): user_attempts.set_administrator,
    ("DELETE", "mlflow/users/delete"): user_attempts.delete_user,
    ("POST", "mlflow/roles/assign"): user_attempts.assign_role,
    ("DELETE", "mlflow/roles/unassign"): user_attempts.unassign_role,
    ("POST", "mlflow/roles/create"): user_attempts.change_role,
    ("PATCH", "mlflow/roles/update"): user_attempts.change_role,
    ("DELETE", "mlflow/roles/delete"): user_attempts.change_role,
    ("POST", "mlflow/upload-artifact"): run_attempts.upload_around,
    ("POST", "mlflow/artifacts/presigned-upload-url"): run_attempts.upload_around,
    **{
        ("POST", f"mlflow/runs/{name}"): run_attempts.write_run
        for name in ("create", "update", "log-batch", "log-inputs", "log-metric", "log-model", "log-parameter", "outputs")
    },
    **{("POST", f"mlflow/runs/{name}"): run_attempts.write_run for name in ("set-tag", "delete-tag")},
    ("POST", "mlflow/logged-models"): run_attempts.write_run,
    ("PATCH", "mlflow/logged-models/<model_id>"): run_attempts.write_run,
    ("POST", "mlflow/logged-models/<model_id>/params"): run_attempts.write_run,
    ("PATCH", "mlflow/logged-models/<model_id>/tags"): run_attempts.write_run,
    # Deleting is for administrators, and for nobody where a version was registered from it.
    ("POST", "mlflow/runs/delete"): run_attempts.delete_run,
    ("POST", "mlflow/runs/restore"): run_attempts.delete_run,
    ("DELETE", "mlflow/logged-models/<model_id>"): run_attempts.delete_run,
    ("DELETE", "mlflow/logged-models/<model_id>/tags/<tag_key>"): run_attempts.delete_run,
}

_API = re.compile(r"/(?:ajax-)?api/\d\.\d/(mlflow(?:-artifacts)?(?:/.*)?)", re.ASCII)


def reader_of_request() -> Reader | None:
    """The reader for the current request; None where it changes nothing, or is judged elsewhere. Unknown: administrators."""
    if request.method in ("GET", "HEAD", "OPTIONS") or request.url_rule is None:
        return None
    rule = request.url_rule.rule
    if rule == "/graphql" or rule.startswith("/changeover/"):
        return None  # MLflow's GraphQL only reads (its one mutation echoes); our own endpoints judge for themselves
    found = _API.fullmatch(rule)
    if found is None:
        return run_attempts.administration
    path = found.group(1)
    if path in _READS and request.method == "POST":
        return None
    if path.startswith("mlflow-artifacts/"):
        return run_attempts.write_artifact
    return _READERS.get((request.method, path), run_attempts.administration)
