"""Registering a version: the server reads the files itself and writes what they say; a client's word counts for nothing.

This view stands in the place of MLflow's own for ``model-versions/create``, behind the same gate. What a client sends as tags
has to agree with the files, or is refused; the description that quality assurance reads is written here too.
"""

import json
import math
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from flask import Response, g
from mlflow.entities.model_registry import ModelVersionTag
from mlflow.protos.model_registry_pb2 import CreateModelVersion
from mlflow.server.handlers import (
    _get_model_registry_store,
    _get_request_message,
    _get_tracking_store,
    _wrap_response,
)

from registry.names import (
    MODEL_FILE,
    TAG_BATCH,
    TAG_CARD,
    TAG_DIGEST,
    TAG_FILES,
    TAG_GATES,
    TAG_IMAGES,
    TAG_LICENCE,
    TAG_LIFE,
    TAG_ORIGIN,
    TAG_QA,
    TAG_REPORT,
    TAG_REQUESTED_BY,
    TAG_SOURCE,
    TAG_TEACHER,
    TAG_THRESHOLD,
    is_digest,
    is_teacher,
)
from registry.rules import registration_rules, rules
from registry.rules.facts import Person
from registry.rules.files import NO_FILE, OF_MODEL, OF_RUN, Files, report_digest
from registry.server.artifact_gate import sealed_by
from registry.server.attempts import (
    Attempt,
    files_of_server,
    rejected,
    versions_of,
    versions_with_digest,
)
from registry.server.description import describe
from registry.trail.events import Trail

LARGEST_METRICS: Final = 64 << 20
REQUESTED_BY: Final = re.compile(r"(?:os|user):[^\s:][^:]{0,79}")
_OF_TEACHER: Final = {TAG_DIGEST: "teacher.safetensors", TAG_CARD: "teacher.json"}


@dataclass(frozen=True)
class Registration:
    """What becomes a version: found by ``register``, made by ``create_version``."""

    name: str
    source: str
    run_id: str
    model_id: str
    tags: Mapping[str, str]
    description: str


@dataclass(frozen=True)
class Evidence:
    """What lies there: the run and its model, every file's sha256, and the report as it was read."""

    run_id: str
    model_id: str
    experiment_id: str
    experiment: str
    manifest: Mapping[str, str]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    report: str | None = None
    """sha256 of ``files.REPORT_FILES``."""


def register(who: Person, trail: Trail) -> Attempt:
    """Judges what the current request wants to register, and keeps it for ``create_version``."""
    message = _get_request_message(CreateModelVersion())
    tags = {tag.key: tag.value for tag in message.tags}
    digest, life = tags.get(TAG_DIGEST, ""), secrets.token_hex(16)
    # Where a teacher comes from is an event as well: tags lie in a database that somebody could write to.
    origin = f"{tags.get(TAG_SOURCE, '')}: {tags.get(TAG_ORIGIN, '')}; licence: {tags.get(TAG_LICENCE, '')}"
    of_teacher = is_teacher(message.name)
    refusal = registration_rules.register_version(
        who, message.name, message.source, tags, versions_of(message.name), versions_with_digest(digest), rejected(digest, trail)
    )
    if refusal is None:
        found = _registration(who, message, tags, life)
        refusal = found if isinstance(found, str) else None
        g.changeover_registration = found
        if isinstance(found, Registration) and not of_teacher:
            origin = rules.registered_record(found.tags)
    return Attempt(
        "register", refusal, product=message.name, digest=digest, subject="" if of_teacher else life, after=message.source,
        reason=origin if of_teacher or refusal is None else "",
    )  # fmt: skip


def create_version() -> Response:
    """In MLflow's place: makes the version that ``register`` found, with the server's tags and description, all in one step."""
    made: Registration = g.changeover_registration
    store = _get_model_registry_store()
    version = store.create_model_version(
        name=made.name,
        source=made.source,
        run_id=made.run_id,
        tags=[ModelVersionTag(key, value) for key, value in made.tags.items()],
        run_link="",
        description=made.description,
        model_id=made.model_id,
    )
    _get_tracking_store().set_model_versions_tags(name=made.name, version=version.version, model_id=made.model_id)
    return _wrap_response(CreateModelVersion.Response(model_version=version.to_proto()))  # type: ignore[no-any-return]


def _registration(  # noqa: PLR0911 - a list of refusals
    who: Person, message: Any, tags: Mapping[str, str], life: str
) -> Registration | str:
    files = files_of_server()
    found = _evidence(message.name, message.source, message.run_id, files)
    if isinstance(found, str):
        return found
    place = (message.name, message.source, found.run_id, found.model_id)
    if is_teacher(message.name):
        for key, file in _OF_TEACHER.items():
            if found.manifest.get(OF_MODEL + file) != tags[key]:
                return f"'{key}' says {tags[key][:12]}, which is not the digest of {file} in {message.source}; register it again"
        return Registration(*place, tags, message.description)
    derived = _tags_of_files(message.name, found)
    if isinstance(derived, str):
        return derived
    for key, value in derived.items():
        if tags.get(key, value) != value:
            return f"'{key}' says '{tags[key][:80]}', but the files of {message.source} say '{value[:80]}'; leave it out"
    requester = tags.get(TAG_REQUESTED_BY, f"user:{who.name}")
    if REQUESTED_BY.fullmatch(requester) is None or not requester.isprintable():
        return f"'{TAG_REQUESTED_BY}' is '{requester[:80]}': give os:NAME (an account of the operating system) or user:NAME"
    if claimed := sorted({TAG_LIFE, TAG_FILES, TAG_TEACHER, TAG_THRESHOLD}.intersection(tags) - derived.keys()):
        return f"'{claimed[0]}' is written by the server alone, from the files that it reads; leave it out"
    ours = {TAG_QA: "pending", TAG_LIFE: life, TAG_REQUESTED_BY: requester, TAG_FILES: files.keep(found.manifest)}
    inside = frozenset(name.removeprefix(OF_RUN) for name in found.manifest if name.startswith(OF_RUN))
    return Registration(*place, {**tags, **derived, **ours}, describe(found.metrics, inside, found.experiment_id, found.run_id))


def _evidence(name: str, source: str, run_id: str, files: Files) -> Evidence | str:
    """What lies behind ``source``, or why no version of ``name`` is made of it."""
    tracking = _get_tracking_store()
    model = tracking.get_logged_model(source.removeprefix("models:/"))
    if not model.source_run_id:
        return f"{source} belongs to no run, so there is nothing to read; log it with its run and register it again"
    if run_id and run_id != model.source_run_id:
        return f"{source} was logged by run {model.source_run_id}, not by {run_id[:40]}; name the run that it belongs to"
    run = tracking.get_run(model.source_run_id)
    for one, what in ((model, f"{source}"), (run.info, f"run {run.info.run_id}")):
        experiment = tracking.get_experiment(one.experiment_id).name
        if experiment != name:
            return f"{what} is of experiment '{experiment}', not of {name}: a version is made of its own product's; log it there"
    for identity in (run.info.run_id, model.model_id):
        if sealed := sealed_by(identity):
            return f"{identity} belongs to {sealed} already: a version has a run and a model of its own; log them anew"
    manifest = files.read(run.info.run_id, model.model_id)
    if odd := sorted(name for name, digest in manifest.items() if digest == NO_FILE):
        return f"{odd[0][:200]} is a link, a pipe or a device, and no plain file; register plain files"
    found = files.report(run.info.run_id) if not is_teacher(name) else {}
    metrics = _metrics(found.get("metrics.json", b""))
    digest = report_digest(found)
    return Evidence(run.info.run_id, model.model_id, run.info.experiment_id, name, manifest, metrics, digest)


def _tags_of_files(name: str, found: Evidence) -> dict[str, str] | str:
    """The tags that the files of a product's version give, or why they give none."""
    metrics, model = found.metrics, found.manifest.get(OF_MODEL + MODEL_FILE)
    if model is None:
        return f"models:/{found.model_id} holds no {MODEL_FILE}: a version is made from the exported inspector; log it again"
    if not metrics or found.report is None:
        return f"run {found.run_id} of {name} has no metrics.json and report.html to be signed with the model; log both"
    if metrics.get("product") != name:
        return f"metrics.json speaks of product '{str(metrics.get('product'))[:80]}', not of {name}; register each with its own"
    if metrics.get("model_digest") != model:
        measured = str(metrics.get("model_digest"))[:12]
        return f"metrics.json was measured on model {measured}, and {model[:12]} was logged; evaluate again"
    gates, passed = metrics.get("gates", []), metrics.get("passed")
    single = [gate.get("passed") if isinstance(gate, Mapping) else None for gate in gates] if isinstance(gates, list) else [None]
    if not isinstance(passed, bool) or not all(isinstance(one, bool) for one in single) or (passed and not all(single)):
        return f"metrics.json of {name} does not say clearly whether the gates passed; evaluate again"
    derived = {TAG_DIGEST: model, TAG_REPORT: found.report, TAG_GATES: "passed" if passed else "failed"}
    for key, value in ((TAG_BATCH, metrics.get("batch")), (TAG_IMAGES, metrics.get("images_digest"))):
        if isinstance(value, str):
            derived[key] = value
    threshold, training = metrics.get("threshold"), metrics.get("training")
    if isinstance(threshold, int | float) and not isinstance(threshold, bool) and math.isfinite(threshold):
        derived[TAG_THRESHOLD] = repr(float(threshold))
    card = training.get("teacher") if isinstance(training, Mapping) else None
    if isinstance(card, Mapping) and is_digest(card.get("digest")):
        derived[TAG_TEACHER] = str(card["digest"])
    return derived


def _metrics(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content) if len(content) <= LARGEST_METRICS else None
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
