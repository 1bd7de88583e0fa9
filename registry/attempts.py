"""Reads what a request to MLflow's API tries, exactly as MLflow's own handler will read it, and judges it.

Bodies are parsed with the function that the handlers use (``_get_request_message``), so that no spelling of a field,
double encoding or duplicate key makes the gate see one thing and the handler do another.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

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
from mlflow.server.handlers import (
    _get_model_registry_store,
    _get_request_message,
)

from registry import registration_rules, rules
from registry.audit import broken_links
from registry.events import Trail
from registry.names import (
    CHAMPION,
    TAG_BY,
    TAG_DIGEST,
    TAG_LICENCE,
    TAG_ORIGIN,
    TAG_QA,
    TAG_REASON,
    TAG_SOURCE,
    TAG_TEACHER,
    is_digest,
    is_teacher,
)
from registry.rules import Person, VersionFacts


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


def set_version_tag(who: Person, trail: Trail) -> Attempt:
    message = _get_request_message(SetModelVersionTag())
    facts = version_facts(message.name, message.version, trail)
    refusal = rules.set_version_tag(who, facts, message.key, message.value)
    before, reason = facts.tags.get(message.key, ""), facts.tags.get(TAG_REASON, "")
    return _of_version("tag.set", facts, refusal, subject=message.key, before=before, after=message.value, reason=reason)


def delete_version_tag(who: Person, trail: Trail) -> Attempt:
    message = _get_request_message(DeleteModelVersionTag())
    facts = version_facts(message.name, message.version, trail)
    refusal = rules.delete_version_tag(who, facts, message.key)
    return _of_version("tag.delete", facts, refusal, subject=message.key, before=facts.tags.get(message.key, ""))


def set_alias(who: Person, trail: Trail) -> Attempt:
    message = _get_request_message(SetRegisteredModelAlias())
    facts = version_facts(message.name, message.version, trail)
    refusal = rules.set_alias(who, facts, message.alias)
    if refusal is None and message.alias == CHAMPION:
        refusal = trail_problem(facts, trail)
    before = holder(message.name, message.alias)
    return _of_version("alias.set", facts, refusal, subject=message.alias, before=before, after=facts.version)


def trail_problem(facts: VersionFacts, trail: Trail) -> str | None:
    """Why the trail does not bear out the approval that the tags of a version claim; None where it does and its chain holds.

    Tags lie in a database that an administrator of the machine can write to. The trail lies there too, but chained.
    """
    if broken := broken_links(trail.rows()):
        return f"the audit trail is broken ({broken[0]}), so nothing is promoted; run changeover audit verify"
    signed = trail.last_decision(facts.product, facts.version)
    told = (facts.tags.get(TAG_QA), facts.tags.get(TAG_BY), facts.tags.get(TAG_DIGEST))
    if signed is None or (signed.after, signed.actor, signed.digest) != told:
        return f"the audit trail holds no approval of {facts} by '{told[1]}': its tags were set past the gate; find out by whom"
    return None


def delete_alias(who: Person, _trail: Trail) -> Attempt:
    message = _get_request_message(DeleteRegisteredModelAlias())
    refusal = rules.delete_alias(who, message.name, message.alias)
    before = holder(message.name, message.alias)
    return Attempt("alias.delete", refusal, product=message.name, version=before, subject=message.alias, before=before)


def holder(product: str, alias: str) -> str:
    """Number of the version that holds ``alias``; empty where none does."""
    return str(_get_model_registry_store().get_registered_model(product).aliases.get(alias, ""))


def register(who: Person, trail: Trail) -> Attempt:
    message = _get_request_message(CreateModelVersion())
    tags = {tag.key: tag.value for tag in message.tags}
    refusal = registration_rules.register_version(
        who, message.name, message.source, tags, versions_of(message.name), trail.rejected(message.name)
    )
    # Where a teacher comes from is an event as well: tags lie in a database that somebody could write to.
    origin = f"{tags.get(TAG_SOURCE, '')}: {tags.get(TAG_ORIGIN, '')}; licence: {tags.get(TAG_LICENCE, '')}"
    reason = origin if is_teacher(message.name) else ""
    digest = tags.get(TAG_DIGEST, "")
    return Attempt("register", refusal, product=message.name, digest=digest, after=message.source, reason=reason)


def versions_of(product: str) -> Iterator[VersionFacts]:
    return _search(f"name = '{product}'")


def trained_with(teacher: VersionFacts) -> Iterator[VersionFacts]:
    """The versions of products whose record names the weights of ``teacher``; none where it is no teacher's version."""
    digest = teacher.tags.get(TAG_DIGEST)
    if is_teacher(teacher.product) and is_digest(digest):
        yield from _search(f"tags.`{TAG_TEACHER}` = '{digest}'")


def _search(query: str) -> Iterator[VersionFacts]:
    token, store = None, _get_model_registry_store()
    while True:
        page = store.search_model_versions(query, max_results=1000, page_token=token)
        yield from map(_facts, page)
        token = page.token
        if not token:
            return


def delete_version(who: Person, trail: Trail) -> Attempt:
    message = _get_request_message(DeleteModelVersion())
    facts = version_facts(message.name, message.version, trail)
    return _of_version("version.delete", facts, registration_rules.delete_version(who, facts, trained_with(facts)))


def update_version(who: Person, trail: Trail) -> Attempt:
    message = _get_request_message(UpdateModelVersion())
    facts = version_facts(message.name, message.version, trail)
    return _of_version("version.describe", facts, registration_rules.update_version(who, facts), after=message.description)


def transition(_who: Person, trail: Trail) -> Attempt:
    message = _get_request_message(TransitionModelVersionStage())
    facts = version_facts(message.name, message.version, trail)
    refusal = f"stage '{message.stage}' is not used here: aliases say what a version is for; sign it and let it be promoted"
    return _of_version("stage.set", facts, refusal, after=message.stage)


def create_model(who: Person, _trail: Trail) -> Attempt:
    message = _get_request_message(CreateRegisteredModel())
    refusal = registration_rules.create_model(who, message.name, [tag.key for tag in message.tags])
    return Attempt("model.create", refusal, product=message.name)


def update_model(who: Person, _trail: Trail) -> Attempt:
    message = _get_request_message(UpdateRegisteredModel())
    refusal = registration_rules.change_model(who, message.name, "change the description")
    return Attempt("model.describe", refusal, product=message.name, after=message.description)


def set_model_tag(who: Person, _trail: Trail) -> Attempt:
    message = _get_request_message(SetRegisteredModelTag())
    refusal = registration_rules.change_model(who, message.name, f"set tag '{message.key}'", message.key)
    return Attempt("model.tag.set", refusal, product=message.name, subject=message.key, after=message.value)


def delete_model_tag(who: Person, _trail: Trail) -> Attempt:
    message = _get_request_message(DeleteRegisteredModelTag())
    refusal = registration_rules.change_model(who, message.name, f"delete tag '{message.key}'", message.key)
    return Attempt("model.tag.delete", refusal, product=message.name, subject=message.key)


def delete_model(who: Person, _trail: Trail) -> Attempt:
    message = _get_request_message(DeleteRegisteredModel())
    aliases = _get_model_registry_store().get_registered_model(message.name).aliases
    needed = chain.from_iterable(map(trained_with, versions_of(message.name)))
    return Attempt(
        "model.delete", registration_rules.delete_model(who, message.name, aliases, trained_with=needed), product=message.name
    )


def rename_model(who: Person, _trail: Trail) -> Attempt:
    message = _get_request_message(RenameRegisteredModel())
    aliases = _get_model_registry_store().get_registered_model(message.name).aliases
    refusal = registration_rules.rename_model(who, message.name, message.new_name, aliases)
    return Attempt("model.rename", refusal, product=message.name, before=message.name, after=message.new_name)
