"""Reads what a request tries with experiments, runs, logged models, and everything that is for administrators."""

from collections.abc import Iterator, Mapping
from typing import Any

from flask import request
from mlflow.protos.service_pb2 import CreateExperiment, DeleteExperiment
from mlflow.server.handlers import _get_normalized_request_json, _get_request_message, _get_tracking_store

from registry import rules
from registry.attempts import Attempt, versions_of
from registry.events import Trail
from registry.names import TRAINER, is_model
from registry.rules import Person
from registry.seals import sealed_by


def create_experiment(who: Person, _trail: Trail) -> Attempt:
    message = _get_request_message(CreateExperiment())
    refusal = None if who.holds(TRAINER) else rules.administer(who, f"create experiment '{message.name}'")
    if refusal is None and message.artifact_location:
        refusal = f"experiment '{message.name}' may not choose its artifact location; leave it out, and the server's is used"
    return Attempt("experiment.create", refusal, subject=message.name, recorded=False)


def delete_experiment(who: Person, _trail: Trail) -> Attempt:
    message = _get_request_message(DeleteExperiment())
    name = _get_tracking_store().get_experiment(message.experiment_id).name
    refusal = rules.administer(who, f"delete experiment '{name}'")
    if refusal is None and is_model(name) and any(versions_of(name)):
        refusal = f"experiment '{name}' holds the runs of registered versions and is kept; delete the versions first"
    return Attempt("experiment.delete", refusal, product=name if is_model(name) else "", subject=name)


_IDS = frozenset(("run_id", "run_uuid", "runId", "runUuid", "model_id", "modelId", "source_run_id", "sourceRunId"))


def _mentioned(value: Any) -> Iterator[str]:
    """Every run or logged model that a request's body speaks of, however deep."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key in _IDS and isinstance(inner, str):
                yield inner
            else:
                yield from _mentioned(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _mentioned(inner)


def write_run(who: Person, _trail: Trail) -> Attempt:
    """Logging to runs and logged models: the trainer's, until a version is registered from them."""
    ids = [*_mentioned(_get_normalized_request_json()), *(request.view_args or {}).values()]
    refusal = None if who.holds(TRAINER) else rules.administer(who, "log to runs")
    for one in ids if refusal is None else ():
        if sealed := sealed_by(one):
            refusal = f"{one} belongs to {sealed} and is closed with its registration; train again for a new version"
            break
    return Attempt("run.write", refusal, subject=" ".join(ids), recorded=False)


def upload_around(_who: Person, _trail: Trail) -> Attempt:
    refusal = "this way of writing artifacts is closed here, since it would pass by the seal of registered versions; log them"
    return Attempt("artifact.write", refusal)


_SHOWN = ("username", "role_id", "is_admin", "name", "resource_type", "resource_pattern", "permission")


def administration(who: Person, _trail: Trail) -> Attempt:
    """Everything that no other reader knows: for administrators. Passwords never reach the trail."""
    rule = request.url_rule.rule if request.url_rule else request.path
    body = request.get_json(silent=True)
    fields = {key: body[key] for key in _SHOWN if key in body} if isinstance(body, Mapping) else {}
    own = rule.endswith("/mlflow/users/update-password") and fields.get("username") == who.name
    refusal = None if own else rules.administer(who, f"use {request.method} {request.path}")
    shown = ", ".join(f"{key}={value}" for key, value in fields.items())
    return Attempt("administer", refusal, subject=f"{request.method} {rule}", after=shown)


def delete_run(who: Person, trail: Trail) -> Attempt:
    attempt = write_run(who, trail)
    refusal = rules.administer(who, "delete runs and logged models") or attempt.refusal
    return Attempt("run.delete", refusal, subject=attempt.subject)
