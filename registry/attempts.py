"""Reads what a request to MLflow's API tries, exactly as MLflow's own handler will read it, and judges it.

Bodies are parsed with the function that the handlers use (``_get_request_message``), so that no spelling of a field,
double encoding or duplicate key makes the gate see one thing and the handler do another.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flask import request
from mlflow.protos.model_registry_pb2 import (
    CreateModelVersion,
    CreateRegisteredModel,
    DeleteModelVersion,
    DeleteModelVersionTag,
    DeleteRegisteredModel,
    DeleteRegisteredModelAlias,
    DeleteRegisteredModelTag,
    RenameRegisteredModel,
    SetModelVersionTag,
    SetRegisteredModelAlias,
    SetRegisteredModelTag,
    TransitionModelVersionStage,
    UpdateModelVersion,
    UpdateRegisteredModel,
)
from mlflow.protos.service_pb2 import CreateExperiment, DeleteExperiment
from mlflow.server.handlers import (
    _get_model_registry_store,
    _get_normalized_request_json,
    _get_request_message,
    _get_tracking_store,
)

from registry import rules
from registry.events import Trail
from registry.names import TAG_DIGEST, TAG_REASON, TRAINER, is_product
from registry.rules import Person, VersionFacts
from registry.seals import sealed_by


@dataclass(frozen=True)
class Attempt:
    """One change that a request asks for, and what the rules say."""

    action: str
    refusal: str | None
    product: str = ""
    version: str = ""
    digest: str = ""
    subject: str = ""
    before: str = ""
    after: str = ""
    reason: str = ""
    recorded: bool = True
    """Whether the trail keeps it when it is allowed; refusals are always kept."""


Reader = Callable[[Person, Trail], Attempt]


def version_facts(product: str, version: str, trail: Trail) -> VersionFacts:
    """The version as the registry holds it now; raises MLflow's own error where there is none."""
    found = _get_model_registry_store().get_model_version(product, version)
    return _facts(found, trail.who_registered(found.name, str(found.version)))


def _facts(found: Any, registered_by: str | None = None) -> VersionFacts:
    return VersionFacts(found.name, str(found.version), dict(found.tags), frozenset(found.aliases or ()), registered_by)


def _of_version(action: str, facts: VersionFacts, refusal: str | None, **more: Any) -> Attempt:
    digest = facts.tags.get(TAG_DIGEST, "")
    return Attempt(action, refusal, product=facts.product, version=facts.version, digest=digest, **more)


def _set_version_tag(who: Person, trail: Trail) -> Attempt:
    message = _get_request_message(SetModelVersionTag())
    facts = version_facts(message.name, message.version, trail)
    refusal = rules.set_version_tag(who, facts, message.key, message.value)
    before, reason = facts.tags.get(message.key, ""), facts.tags.get(TAG_REASON, "")
    return _of_version("tag.set", facts, refusal, subject=message.key, before=before, after=message.value, reason=reason)


def _delete_version_tag(who: Person, trail: Trail) -> Attempt:
    message = _get_request_message(DeleteModelVersionTag())
    facts = version_facts(message.name, message.version, trail)
    refusal = rules.delete_version_tag(who, facts, message.key)
    return _of_version("tag.delete", facts, refusal, subject=message.key, before=facts.tags.get(message.key, ""))


def _set_alias(who: Person, trail: Trail) -> Attempt:
    message = _get_request_message(SetRegisteredModelAlias())
    facts = version_facts(message.name, message.version, trail)
    refusal = rules.set_alias(who, facts, message.alias)
    before = _holder(message.name, message.alias)
    return _of_version("alias.set", facts, refusal, subject=message.alias, before=before, after=facts.version)


def _delete_alias(who: Person, _trail: Trail) -> Attempt:
    message = _get_request_message(DeleteRegisteredModelAlias())
    refusal = rules.delete_alias(who, message.name, message.alias)
    before = _holder(message.name, message.alias)
    return Attempt("alias.delete", refusal, product=message.name, version=before, subject=message.alias, before=before)


def _holder(product: str, alias: str) -> str:
    return str(_get_model_registry_store().get_registered_model(product).aliases.get(alias, ""))


def _register(who: Person, _trail: Trail) -> Attempt:
    message = _get_request_message(CreateModelVersion())
    tags = {tag.key: tag.value for tag in message.tags}
    refusal = rules.register_version(who, message.name, message.source, tags, _versions(message.name))
    return Attempt("register", refusal, product=message.name, digest=tags.get(TAG_DIGEST, ""), after=message.source)


def _versions(product: str) -> Iterator[VersionFacts]:
    token, store = None, _get_model_registry_store()
    while True:
        page = store.search_model_versions(f"name = '{product}'", max_results=1000, page_token=token)
        yield from map(_facts, page)
        token = page.token
        if not token:
            return


def _delete_version(who: Person, trail: Trail) -> Attempt:
    message = _get_request_message(DeleteModelVersion())
    facts = version_facts(message.name, message.version, trail)
    return _of_version("version.delete", facts, rules.delete_version(who, facts))


def _update_version(who: Person, trail: Trail) -> Attempt:
    message = _get_request_message(UpdateModelVersion())
    facts = version_facts(message.name, message.version, trail)
    return _of_version("version.describe", facts, rules.update_version(who, facts), after=message.description)


def _transition(_who: Person, trail: Trail) -> Attempt:
    message = _get_request_message(TransitionModelVersionStage())
    facts = version_facts(message.name, message.version, trail)
    refusal = f"stage '{message.stage}' is not used here: aliases say what a version is for; sign it and let it be promoted"
    return _of_version("stage.set", facts, refusal, after=message.stage)


def _create_model(who: Person, _trail: Trail) -> Attempt:
    message = _get_request_message(CreateRegisteredModel())
    refusal = rules.create_model(who, message.name, [tag.key for tag in message.tags])
    return Attempt("model.create", refusal, product=message.name)


def _update_model(who: Person, _trail: Trail) -> Attempt:
    message = _get_request_message(UpdateRegisteredModel())
    refusal = rules.change_model(who, message.name, "change the description")
    return Attempt("model.describe", refusal, product=message.name, after=message.description)


def _set_model_tag(who: Person, _trail: Trail) -> Attempt:
    message = _get_request_message(SetRegisteredModelTag())
    refusal = rules.change_model(who, message.name, f"set tag '{message.key}'", message.key)
    return Attempt("model.tag.set", refusal, product=message.name, subject=message.key, after=message.value)


def _delete_model_tag(who: Person, _trail: Trail) -> Attempt:
    message = _get_request_message(DeleteRegisteredModelTag())
    refusal = rules.change_model(who, message.name, f"delete tag '{message.key}'", message.key)
    return Attempt("model.tag.delete", refusal, product=message.name, subject=message.key)


def _delete_model(who: Person, _trail: Trail) -> Attempt:
    message = _get_request_message(DeleteRegisteredModel())
    aliases = _get_model_registry_store().get_registered_model(message.name).aliases
    return Attempt("model.delete", rules.delete_model(who, message.name, aliases), product=message.name)


def _rename_model(who: Person, _trail: Trail) -> Attempt:
    message = _get_request_message(RenameRegisteredModel())
    aliases = _get_model_registry_store().get_registered_model(message.name).aliases
    refusal = rules.delete_model(who, message.name, aliases, "rename")
    if refusal is None and not is_product(message.new_name):
        refusal = f"'{message.new_name}' cannot name a product: a-z, 0-9, '.', '_', '-', at most 63; choose another name"
    return Attempt("model.rename", refusal, product=message.name, before=message.name, after=message.new_name)


def _create_experiment(who: Person, _trail: Trail) -> Attempt:
    message = _get_request_message(CreateExperiment())
    refusal = None if who.holds(TRAINER) else rules.administer(who, f"create experiment '{message.name}'")
    if refusal is None and message.artifact_location:
        refusal = f"experiment '{message.name}' may not choose its artifact location; leave it out, and the server's is used"
    return Attempt("experiment.create", refusal, subject=message.name, recorded=False)


def _delete_experiment(who: Person, _trail: Trail) -> Attempt:
    message = _get_request_message(DeleteExperiment())
    name = _get_tracking_store().get_experiment(message.experiment_id).name
    refusal = rules.administer(who, f"delete experiment '{name}'")
    if refusal is None and is_product(name) and any(_versions(name)):
        refusal = f"experiment '{name}' holds the runs of registered versions and is kept; delete the versions first"
    return Attempt("experiment.delete", refusal, product=name if is_product(name) else "", subject=name)


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


def _write_run(who: Person, _trail: Trail) -> Attempt:
    """Logging to runs and logged models: the trainer's, until a version is registered from them."""
    ids = [*_mentioned(_get_normalized_request_json()), *(request.view_args or {}).values()]
    refusal = None if who.holds(TRAINER) else rules.administer(who, "log to runs")
    for one in ids if refusal is None else ():
        if sealed := sealed_by(one):
            refusal = f"{one} belongs to {sealed} and is closed with its registration; train again for a new version"
            break
    return Attempt("run.write", refusal, subject=" ".join(ids), recorded=False)


def _upload_around(_who: Person, _trail: Trail) -> Attempt:
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
    ("POST", "mlflow/model-versions/create"): _register,
    ("POST", "mlflow/model-versions/set-tag"): _set_version_tag,
    ("DELETE", "mlflow/model-versions/delete-tag"): _delete_version_tag,
    ("DELETE", "mlflow/model-versions/delete"): _delete_version,
    ("PATCH", "mlflow/model-versions/update"): _update_version,
    ("POST", "mlflow/model-versions/transition-stage"): _transition,
    ("POST", "mlflow/registered-models/alias"): _set_alias,
    ("DELETE", "mlflow/registered-models/alias"): _delete_alias,
    ("POST", "mlflow/registered-models/create"): _create_model,
    ("PATCH", "mlflow/registered-models/update"): _update_model,
    ("POST", "mlflow/registered-models/set-tag"): _set_model_tag,
    ("DELETE", "mlflow/registered-models/delete-tag"): _delete_model_tag,
    ("DELETE", "mlflow/registered-models/delete"): _delete_model,
    ("POST", "mlflow/registered-models/rename"): _rename_model,
    ("POST", "mlflow/experiments/create"): _create_experiment,
    ("POST", "mlflow/experiments/delete"): _delete_experiment,
    ("POST", "mlflow/upload-artifact"): _upload_around,
    ("POST", "mlflow/artifacts/presigned-upload-url"): _upload_around,
    **{
        ("POST", f"mlflow/runs/{name}"): _write_run
        for name in ("create", "update", "log-batch", "log-inputs", "log-metric", "log-model", "log-parameter", "outputs")
    },
    **{("POST", f"mlflow/runs/{name}"): _write_run for name in ("set-tag", "delete-tag")},
    ("POST", "mlflow/logged-models"): _write_run,
    ("PATCH", "mlflow/logged-models/<model_id>"): _write_run,
    ("POST", "mlflow/logged-models/<model_id>/params"): _write_run,
    ("PATCH", "mlflow/logged-models/<model_id>/tags"): _write_run,
}
# Deleting is for administrators, and for nobody where a version was registered from it.
_DELETES = frozenset(
    (
        ("POST", "mlflow/runs/delete"),
        ("DELETE", "mlflow/logged-models/<model_id>"),
        ("DELETE", "mlflow/logged-models/<model_id>/tags/<tag_key>"),
    )
)


def _delete_run(who: Person, trail: Trail) -> Attempt:
    attempt = _write_run(who, trail)
    refusal = rules.administer(who, "delete runs and logged models") or attempt.refusal
    return Attempt("run.delete", refusal, subject=attempt.subject)


_API = re.compile(r"/(?:ajax-)?api/\d\.\d/(mlflow(?:-artifacts)?(?:/.*)?)", re.ASCII)


def reader_of_request() -> Reader | None:  # noqa: PLR0911 - one line a kind of route
    """The reader for the current request; None where it changes nothing, or is judged elsewhere. Unknown: administrators."""
    if request.method in ("GET", "HEAD", "OPTIONS") or request.url_rule is None:
        return None
    rule = request.url_rule.rule
    if rule == "/graphql" or rule.startswith("/changeover/"):
        return None  # MLflow's GraphQL only reads (its one mutation echoes); our own endpoints judge for themselves
    found = _API.fullmatch(rule)
    if found is None:
        return administration
    path = found.group(1)
    if path in _READS and request.method == "POST":
        return None
    if path.startswith("mlflow-artifacts/"):
        return None  # the artifact gate, in front of this application, has judged it
    if (request.method, path) in _DELETES:
        return _delete_run
    return _READERS.get((request.method, path), administration)
