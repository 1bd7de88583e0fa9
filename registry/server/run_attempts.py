"""Reads what a request tries with experiments, runs, logged models and artifacts, and everything that is for administrators."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from flask import request
from mlflow.protos.service_pb2 import CreateExperiment
from mlflow.server.handlers import _get_normalized_request_json, _get_request_message, _get_tracking_store

from registry.names import TRAINER, is_model
from registry.rules import rules
from registry.rules.facts import Person
from registry.server.artifact_gate import WRITE, holds_versions, refuse_artifact, sealed_by
from registry.server.attempts import Attempt
from registry.trail.events import Trail


def create_experiment(who: Person, _trail: Trail) -> Attempt:
    message = _get_request_message(CreateExperiment())
    refusal = None if who.holds(TRAINER) else rules.administer(who, f"create experiment '{message.name}'")
    if refusal is None and message.artifact_location:
        refusal = f"experiment '{message.name}' may not choose its artifact location; leave it out, and the server's is used"
    return Attempt("experiment.create", refusal, subject=message.name)


def change_experiment(who: Person, _trail: Trail) -> Attempt:
    """Renames, tags, deletes or restores an experiment: for administrators, and for nobody where versions stand on its runs."""
    verb = request.path.rpartition("/")[2]
    numbers = list(dict.fromkeys(_values_of(("experiment_id", "experimentId"), *_sources()))) or [""]
    names = [_get_tracking_store().get_experiment(number).name for number in numbers]
    name, refusal = names[0], rules.administer(who, f"{verb} experiment '{names[0]}'")
    for one in names:
        if version := holds_versions(one):
            refusal = f"experiment '{one}' holds the runs of registered versions ({version} among them) and is kept as it is"
    more = {"product": name} if is_model(name) else {}
    return Attempt(f"experiment.{verb}", refusal, subject=name, after=_shown(), **more)


_IDS: Final = frozenset(("run_id", "run_uuid", "runId", "runUuid", "model_id", "modelId", "source_run_id", "sourceRunId"))
_LISTS: Final = frozenset(("run_ids", "runIds", "model_ids", "modelIds"))


def _mentioned(value: Any) -> Iterator[str]:
    """Every run or logged model that a request's body speaks of, however deep."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key in _IDS and isinstance(inner, str):
                yield inner
            elif key in _LISTS and isinstance(inner, list):
                yield from (one for one in inner if isinstance(one, str))
            else:
                yield from _mentioned(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _mentioned(inner)


def _sources() -> list[Any]:
    """Everything that a request brings along and a handler could read: body, form, query and path."""
    return [_get_normalized_request_json(), request.form.to_dict(), request.args.to_dict(), dict(request.view_args or {})]


def _values_of(keys: Iterable[str], *sources: Any) -> Iterator[str]:
    for source in sources:
        for key in keys:
            if isinstance(source, Mapping) and isinstance(source.get(key), str | int):
                yield str(source[key])


def _closed(ids: Iterable[str]) -> str | None:
    for one in ids:
        if sealed := sealed_by(one):
            return f"{one} belongs to {sealed} and is closed with its registration; train again for a new version"
    return None


def _ids() -> list[str]:
    found = [one for source in _sources() for one in _mentioned(source)]
    return list(dict.fromkeys((*found, *(str(one) for one in (request.view_args or {}).values()))))


def write_run(who: Person, _trail: Trail) -> Attempt:
    """Logging to runs and logged models: the trainer's, until a version is registered from them."""
    ids = _ids()
    refusal = None if who.holds(TRAINER) else rules.administer(who, "log to runs")
    # What an administrator does is recorded; the trainer's many lines before a registration are the run itself.
    return Attempt("run.write", refusal or _closed(ids), subject=" ".join(ids), recorded=not who.holds(TRAINER))


def delete_run(who: Person, trail: Trail) -> Attempt:
    attempt = write_run(who, trail)
    refusal = rules.administer(who, "delete or restore runs and logged models") or attempt.refusal
    return Attempt("run.delete", refusal, subject=attempt.subject)


def upload_around(_who: Person, _trail: Trail) -> Attempt:
    refusal = "this way of writing artifacts is closed here, since it would pass by the seal of registered versions; log them"
    return Attempt(WRITE, refusal)


def write_artifact(who: Person, _trail: Trail) -> Attempt:
    """What Flask answers of writing artifacts: deleting them. Uploads in parts are closed: their body names a second path."""
    path = str((request.view_args or {}).get("artifact_path", ""))
    if "/mpu/" in request.path:
        return replace(upload_around(who, _trail), subject=path)
    return Attempt(WRITE, refuse_artifact(who.name, who.roles, path), subject=path, after=request.method)


_SECRET: Final = re.compile(r"pass|secret|token|credential|authori[sz]ation|api.?key", re.IGNORECASE)
_IN_ADDRESS: Final = re.compile(
    r"(?<=//)[^/@\s]*(?=@)|(?<=[?&;])[^=&;\s]*(?:pass|secret|token|credential|authori[sz]ation|key|sig)[^=&;\s]*=[^&;#\s\"]*",
    re.IGNORECASE,
)
"""In an address: a user and password before the host, and secrets in the query."""
_LONGEST: Final = 200


def _shown() -> str:
    """What a request names, for the trail: everything but secrets, each cut to some length."""
    shown = []
    for mark, source in zip(("", "form ", "?", ""), _sources(), strict=True):
        for key, value in source.items() if isinstance(source, Mapping) else ():
            if _SECRET.search(str(key)) is None and value is not None:
                text = value if isinstance(value, str) else json.dumps(_without_secrets(value), ensure_ascii=False, default=str)
                shown.append(f"{mark}{str(key)[:60]}={_IN_ADDRESS.sub('…', text)[:_LONGEST]}")
    return ", ".join(dict.fromkeys(shown))


def _without_secrets(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_secrets(inner) for key, inner in value.items() if _SECRET.search(str(key)) is None}
    return [_without_secrets(one) for one in value] if isinstance(value, list) else value


def administration(who: Person, _trail: Trail) -> Attempt:
    """Everything that no other reader knows: for administrators. Passwords never reach the trail."""
    rule = request.url_rule.rule if request.url_rule else request.path
    refusal = rules.administer(who, f"use {request.method} {request.path}") or _closed(_ids())
    return Attempt("administer", refusal, subject=f"{request.method} {rule}", after=_shown())
