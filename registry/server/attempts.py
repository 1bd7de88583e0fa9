"""Reads what a request to MLflow's API tries, exactly as MLflow's own handler will read it, and judges it.

Bodies are parsed with the function that the handlers use (``_get_request_message``), so that no spelling of a field,
double encoding or duplicate key makes the gate see one thing and the handler do another.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from flask import current_app
from mlflow.protos.model_registry_pb2 import (
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

from registry.names import (
    CHAMPION,
    TAG_BY,
    TAG_DIGEST,
    TAG_QA,
    TAG_REASON,
    TAG_TEACHER,
    is_digest,
    is_teacher,
)
from registry.rules import registration_rules, rules
from registry.rules.facts import Person, VersionFacts
from registry.rules.files import Files
from registry.trail.events import Event, Trail
from registry.trail.people import CONFIRM, TRAIL_BROKEN


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
    facts = facts_of(found)
    registration = registration_of(facts, trail)
    if registration is None:
        return facts
    return replace(facts, registered_by=registration.actor, registered=registration.seq)


def registration_of(facts: VersionFacts, trail: Trail) -> Event | None:
    """The event by which a version came to be: by the number of its life, never by its name, which may change hands."""
    if facts.life:
        found = trail.find(actions=("register",), subject=facts.life, digest=facts.digest, allowed=True, at_most=1)
    else:  # registered before there were such numbers
        found = trail.find(
            actions=("register",), product=facts.product, version=facts.version, subject="", allowed=True, newest_first=True,
            at_most=1,
        )  # fmt: skip
    return found[0] if found else None


def facts_of(found: Any) -> VersionFacts:
    """A version of MLflow's, without what the trail says of it."""
    return VersionFacts(
        found.name,
        str(found.version),
        dict(found.tags),
        frozenset(found.aliases or ()),
        run_id=found.run_id or "",
        source=str(found.source),
    )


def _of_version(action: str, facts: VersionFacts, refusal: str | None, **more: Any) -> Attempt:
    digest = facts.tags.get(TAG_DIGEST, "")
    return Attempt(action, refusal, product=facts.product, version=facts.version, digest=digest, **more)


def set_version_tag(who: Person, trail: Trail) -> Attempt:
    message = _get_request_message(SetModelVersionTag())
    facts = version_facts(message.name, message.version, trail)
    refusal = rules.set_version_tag(who, facts, message.key, message.value, signature_of_plant())
    before, reason = facts.tags.get(message.key, ""), facts.tags.get(TAG_REASON, "")
    if refusal is None and message.key == TAG_QA and message.value != "pending":
        refusal = decision_problem(facts, message.value, trail)
    return _of_version("tag.set", facts, refusal, subject=message.key, before=before, after=message.value, reason=reason)


def decision_problem(facts: VersionFacts, decision: str, trail: Trail, *, remembered: bool = False) -> str | None:
    """Why nobody may approve the model of a version, whoever asks and whatever it is called: it was rejected before, or its files
    are not those that were registered (``remembered``: see ``Files.problem``). A rejection is always possible."""
    if decision != "approved":
        return None
    if rejection := rejected(facts.digest, trail):
        return (
            f"the model file of {facts} was rejected by '{rejection.actor}' as version {rejection.version} of"
            f" {rejection.product}, and a rejection is final; train a new version"
        )
    registration = registration_of(facts, trail)
    if registration is not None and rules.is_other_record(registration.reason, facts.tags):
        return (
            f"the record of {facts} is not the one that was registered (event {registration.seq}): one of its tags was changed"
            " past the gate; find out who can write to the database, and train again"
        )
    return files_of_server().problem(facts, remembered=remembered)


def rejected(digest: str, trail: Trail) -> Event | None:
    """The event that turned the model file with ``digest`` down, under whatever name; None where nobody ever did."""
    found = trail.find(actions=("tag.set",), subject=TAG_QA, after_value="rejected", digest=digest, allowed=True, at_most=1)
    return found[0] if found and digest else None


def files_of_server() -> Files:
    """The files of the server that answers the current request."""
    found: Files = current_app.extensions["changeover"].files
    return found


def signature_of_plant() -> str:
    """``rules.TAGS`` or ``rules.STRICT``."""
    return str(current_app.extensions["changeover"].signature)


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
        refusal = approval_problem(facts, trail)
    before = holder(message.name, message.alias)
    return _of_version("alias.set", facts, refusal, subject=message.alias, before=before, after=facts.version)


def approval_problem(facts: VersionFacts, trail: Trail, *, remembered: bool = False) -> str | None:
    """Why a version may not be the champion, though its tags claim an approval; None where trail and files bear it out.

    Tags lie in a database that an administrator of the machine can write to. The trail lies there too, but chained and sealed.
    """
    if broken := trail.problem():
        return f"the audit trail is broken ({broken}), so nothing is promoted; run changeover audit verify"
    looked_at = {event.subject for event in trail.find(actions=(CONFIRM,), allowed=True)}
    for found in trail.find(actions=(TRAIL_BROKEN,)):
        if str(found.seq) not in looked_at:
            return (
                f"the audit trail was found broken ({found.reason}), so nothing is promoted; see event {found.seq} and confirm it"
            )
    signed = last_decision(facts, trail)
    expected = (facts.tags.get(TAG_QA), facts.tags.get(TAG_BY), facts.digest)
    if signed is None or (signed.after, signed.actor, signed.digest) != expected:
        return (
            f"the audit trail holds no approval of {facts} by '{expected[1]}': its tags were set past the gate; find out by whom"
        )
    if back := rolled_back(facts, trail):
        return (
            f"'{back.actor}' rolled back from {facts} after it was approved (event {back.seq}): withdraw the approval and"
            " decide anew before it is promoted again"
        )
    return decision_problem(facts, "approved", trail, remembered=remembered)


def rolled_back(facts: VersionFacts, trail: Trail) -> Event | None:
    """The roll-back from a version since it was last decided on; None where there was none."""
    signed = last_decision(facts, trail)
    backs = trail.find(
        actions=("roll-back",), product=facts.product, allowed=True, after=signed.seq if signed else facts.registered
    )
    return next((back for back in backs if back.before == facts.version), None)


def last_decision(facts: VersionFacts, trail: Trail) -> Event | None:
    """The last allowed change of a version's sign-off since this very model was registered; None where there is none."""
    found = trail.find(
        actions=("tag.set", "tag.delete"), product=facts.product, version=facts.version, subject=TAG_QA, allowed=True,
        after=facts.registered, newest_first=True, at_most=1,
    )  # fmt: skip
    return found[0] if found else None


def delete_alias(who: Person, _trail: Trail) -> Attempt:
    message = _get_request_message(DeleteRegisteredModelAlias())
    refusal = rules.delete_alias(who, message.name, message.alias)
    before = holder(message.name, message.alias)
    return Attempt("alias.delete", refusal, product=message.name, version=before, subject=message.alias, before=before)


def holder(product: str, alias: str) -> str:
    """Number of the version that holds ``alias``; empty where none does."""
    return str(_get_model_registry_store().get_registered_model(product).aliases.get(alias, ""))


def models() -> list[Any]:
    """Every registered model, of products and teachers, as MLflow has it."""
    token, found = None, []
    while True:
        page = _get_model_registry_store().search_registered_models(max_results=500, page_token=token)
        found += list(page)
        token = page.token
        if not token:
            return found


def versions_of(product: str) -> Iterator[VersionFacts]:
    return _search(f"name = '{product}'")


def versions_with_digest(digest: str) -> Iterator[VersionFacts]:
    """Every version of whatever product or teacher that has this file."""
    if is_digest(digest):
        yield from _search(f"tags.`{TAG_DIGEST}` = '{digest}'")


def trained_with(teacher: VersionFacts) -> Iterator[VersionFacts]:
    """The versions of products whose record names the weights of ``teacher``; none where it is no teacher's version."""
    digest = teacher.tags.get(TAG_DIGEST)
    if is_teacher(teacher.product) and is_digest(digest):
        yield from _search(f"tags.`{TAG_TEACHER}` = '{digest}'")


def _search(query: str) -> Iterator[VersionFacts]:
    token, store = None, _get_model_registry_store()
    while True:
        page = store.search_model_versions(query, max_results=1000, page_token=token)
        yield from map(facts_of, page)
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
    refusal = registration_rules.rename_model(who, message.name, message.new_name, any(versions_of(message.name)))
    return Attempt("model.rename", refusal, product=message.name, before=message.name, after=message.new_name)
