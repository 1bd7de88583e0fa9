"""Who may sign, comment on and name a version in the registry: pure rules, without a server.

Each rule answers None when the change may happen, or one sentence that names what was tried, the rule, and the fix.
MLflow's dialogs show that sentence to people, so it is written for them.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from registry.names import (
    ADMIN,
    ALIASES,
    CANDIDATE,
    CHAMPION,
    DECISIONS,
    PREVIOUS,
    PROMOTER,
    QA,
    STAMPS,
    TAG_BY,
    TAG_DIGEST,
    TAG_GATES,
    TAG_NOTES,
    TAG_QA,
    TAG_REASON,
    TAG_SIGNED_DIGEST,
    TAG_SIGNED_RECORD,
    TAG_WAIVED_BY,
    TAG_WAIVER,
    TRAINER,
    WAIVER_STAMPS,
    is_digest,
    is_product,
)
from registry.notes import notes_problem

WRITTEN_BY_QA = (TAG_QA, TAG_REASON, TAG_NOTES, TAG_WAIVER)
OURS = re.compile(r"changeover\.[a-z_]{1,40}", re.ASCII)


@dataclass(frozen=True)
class Person:
    """An authenticated user and the roles they hold."""

    name: str
    roles: frozenset[str]

    def holds(self, *roles: str) -> bool:
        return not self.roles.isdisjoint(roles)

    def __str__(self) -> str:
        return f"'{self.name}' ({', '.join(sorted(self.roles)) or 'no role'})"


@dataclass(frozen=True)
class VersionFacts:
    """A version as it stands before the change."""

    product: str
    version: str
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: frozenset[str] = frozenset()
    registered_by: str | None = None

    @property
    def decision(self) -> str:
        """``pending``, ``approved`` or ``rejected``."""
        return self.tags.get(TAG_QA, "pending")

    def __str__(self) -> str:
        return f"version {self.version} of {self.product}"


def set_version_tag(who: Person, version: VersionFacts, key: str, value: str) -> str | None:  # noqa: PLR0911 - a rule is a list of refusals
    """May ``who`` set tag ``key`` of ``version`` to ``value``?"""
    if key in STAMPS + WAIVER_STAMPS:
        return f"tag '{key}' is stamped by the server alone; set '{TAG_QA}' to sign, and the server adds who, when and what"
    if key in WRITTEN_BY_QA and (problem := _not_for_a_line(version)):
        return problem
    if key == TAG_QA:
        return _may_sign(who, version, value)
    if key in (TAG_REASON, TAG_NOTES):
        return _may_comment(who, version, key) or (notes_problem(value) if key == TAG_NOTES else None)
    if key == TAG_WAIVER:
        return _may_waive(who, version, value)
    if OURS.fullmatch(key):
        if not who.holds(TRAINER):
            return f"{who} may not set '{key}': the record of a version comes from role {TRAINER}; register a new version"
        if key in version.tags:
            return f"'{key}' of {version} is written once and is '{version.tags[key]}'; register a new version instead"
        if version.decision != "pending":
            return f"the record of {version} was signed as it is ({version.decision}) and is closed; register a new version"
        return None
    if _looks_reserved(key):
        return f"tag '{key}' looks like one of the registry's own; use a name that does not start with 'qa' or 'changeover'"
    return administer(who, f"set tag '{key}' of {version}")


def delete_version_tag(who: Person, version: VersionFacts, key: str) -> str | None:  # noqa: PLR0911 - a list of refusals
    """May ``who`` delete tag ``key`` of ``version``?"""
    if key in STAMPS + WAIVER_STAMPS:
        return f"tag '{key}' is the server's alone; set '{TAG_QA}' to pending to withdraw a sign-off"
    if key in WRITTEN_BY_QA and (problem := _not_for_a_line(version)):
        return problem
    if key == TAG_QA:
        return _may_sign(who, version, "pending")
    if key in (TAG_REASON, TAG_NOTES):
        return _may_comment(who, version, key)
    if key == TAG_WAIVER:
        return _may_waive(who, version, None)
    if key.startswith("changeover."):
        return f"'{key}' belongs to the record of {version}, which is written once; register a new version instead"
    return administer(who, f"delete tag '{key}' of {version}")


def _not_for_a_line(version: VersionFacts) -> str | None:
    """Why ``version`` is neither signed nor given an alias, whatever it holds and whoever asks: no line uses it."""
    if is_product(version.product):
        return None
    return (
        f"{version.product} is a teacher, which no line uses: its versions are not signed, not waived and get no alias;"
        " sign the versions that were trained with it"
    )


def _may_sign(who: Person, version: VersionFacts, value: str) -> str | None:  # noqa: PLR0911 - a rule is a list of refusals
    if not who.holds(QA):
        return f"{who} may not sign {version}: only role {QA} sets '{TAG_QA}'; ask a person of quality assurance"
    if value not in DECISIONS:
        return f"'{value}' is no decision: '{TAG_QA}' is one of {', '.join(DECISIONS)}; choose one of them"
    if version.registered_by is None:
        return f"the audit trail does not say who registered {version}, so nobody may sign it; register the model again"
    if version.registered_by == who.name:
        return f"'{who.name}' registered {version}: nobody signs what they trained; ask another person of role {QA}"
    if not is_digest(version.tags.get(TAG_DIGEST)):
        return f"{version} carries no digest of its model file, so a sign-off would bind to nothing; register the model again"
    if version.decision == "rejected":
        return f"{version} was rejected by '{version.tags.get(TAG_BY, '?')}', and a rejection is final; train a new version"
    if value != "pending" and not version.tags.get(TAG_REASON, "").strip():
        return f"{version} cannot be {value} without a reason: add tag '{TAG_REASON}' first, then set '{TAG_QA}'"
    return _gates_problem(version, who.name) if value == "approved" else None


def _gates_problem(version: VersionFacts, signer: str) -> str | None:
    """Why the gates of ``version`` keep ``signer`` from approving it; None where they passed or another person waived them."""
    if version.tags.get(TAG_GATES) == "passed":
        return None
    waived_by = version.tags.get(TAG_WAIVED_BY)
    if not version.tags.get(TAG_WAIVER, "").strip() or not waived_by:
        return f"{version} failed its gates: before it is approved, another person of role {QA} sets '{TAG_WAIVER}' and says why"
    if waived_by == signer:
        return f"'{signer}' waived the gates of {version} and may not approve it as well: that takes a second person of role {QA}"
    return None


def _may_waive(who: Person, version: VersionFacts, value: str | None) -> str | None:  # noqa: PLR0911 - a list of refusals
    if not who.holds(QA):
        return f"{who} may not waive the gates of {version}: only role {QA} sets '{TAG_WAIVER}'; ask quality assurance"
    if version.registered_by in (None, who.name):
        return f"nobody waives the gates of what they trained, and '{version.registered_by}' registered {version}; ask another"
    if version.decision != "pending":
        return f"{version} is {version.decision}: a waiver comes before the decision; withdraw the sign-off first"
    if version.tags.get(TAG_GATES) == "passed":
        return f"{version} passed its gates, so there is nothing to waive; set '{TAG_QA}'"
    before = version.tags.get(TAG_WAIVED_BY)
    if before not in (None, who.name):
        return f"'{before}' waived the gates of {version}, and the waiver is theirs; ask them, or sign it"
    if value is not None and not value.strip():
        return f"the gates of {version} cannot be waived without a reason; say why in '{TAG_WAIVER}'"
    return None


def _may_comment(who: Person, version: VersionFacts, key: str) -> str | None:
    if not who.holds(QA):
        return f"{who} may not set '{key}' of {version}: only role {QA} does; ask quality assurance"
    if version.registered_by == who.name:
        return f"'{who.name}' registered {version}: nobody signs what they trained; ask another person of role {QA}"
    if version.decision != "pending":
        signer = version.tags.get(TAG_BY, "?")
        return f"'{key}' is part of what '{signer}' signed when {version} was {version.decision}; withdraw the sign-off first"
    return None


def record_digest(tags: Mapping[str, str]) -> str:
    """sha256 of all that a sign-off is about: the record (``changeover.*``), the reason, the notes and the waiver, as canonical
    JSON. Whatever of it changes later makes the sign-off void."""
    signed = {
        key: value
        for key, value in tags.items()
        if key.startswith("changeover.") or key in (TAG_REASON, TAG_NOTES, TAG_WAIVER, *WAIVER_STAMPS)
    }
    text = json.dumps(signed, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def sign_off_problem(version: VersionFacts) -> str | None:
    """Why the sign-off of ``version`` does not hold; None when it does. The files are checked by ``sign_off.status``."""
    if problem := _not_for_a_line(version):
        return problem
    if version.decision != "approved":
        return f"{version} is {version.decision}, not approved; quality assurance signs it first"
    missing = [key for key in STAMPS if not version.tags.get(key)]
    if missing:
        return f"the sign-off of {version} lacks {', '.join(missing)}: the server was cut off while stamping; sign it again"
    if version.tags[TAG_SIGNED_DIGEST] != version.tags.get(TAG_DIGEST):
        return f"the sign-off of {version} is for digest {version.tags[TAG_SIGNED_DIGEST][:12]}, not for its own; sign it again"
    if version.tags[TAG_SIGNED_RECORD] != record_digest(version.tags):
        return f"the record of {version} (threshold, gates, reason …) is not what was signed; find out who changed it"
    return _gates_problem(version, version.tags[TAG_BY])


def set_alias(who: Person, version: VersionFacts, alias: str) -> str | None:  # noqa: PLR0911 - a rule is a list of refusals
    """May ``who`` move ``alias`` to ``version``?"""
    if alias not in ALIASES:
        return f"alias '{alias}' is unknown here: the aliases are {', '.join(ALIASES)}; use one of them, or a tag"
    if problem := _not_for_a_line(version):
        return problem
    if alias == CANDIDATE:
        if not who.holds(TRAINER):
            return f"{who} may not set alias '{alias}': only role {TRAINER} does, when it registers a version"
        if version.tags.get(TAG_GATES) != "passed":
            return f"{version} did not pass its gates, so it is no candidate; train again, or have them waived and approve it"
        return None if version.decision != "rejected" else f"{version} was rejected, so it is no candidate; train again"
    if not who.holds(PROMOTER):
        return f"{who} may not move alias '{alias}': only role {PROMOTER} does, after sign-off; sign it and let it be promoted"
    if alias == PREVIOUS and version.aliases & {CHAMPION, PREVIOUS}:
        return None
    return sign_off_problem(version)


def delete_alias(who: Person, product: str, alias: str) -> str | None:
    """May ``who`` take ``alias`` away from the version of ``product`` that holds it?"""
    if alias == CANDIDATE and who.holds(TRAINER, PROMOTER):
        return None
    if alias in (CHAMPION, PREVIOUS) and who.holds(PROMOTER):
        return None
    if alias in ALIASES:
        return f"{who} may not delete alias '{alias}' of {product}: only role {PROMOTER} does; ask for a roll-back instead"
    return administer(who, f"delete alias '{alias}' of {product}")


def administer(who: Person, what: str) -> str | None:
    """May ``who`` do ``what``, which no other rule allows to anybody?"""
    if who.holds(ADMIN):
        return None
    return f"{who} may not {what}: only role {ADMIN} does; ask an administrator"


def _looks_reserved(key: str) -> bool:
    return key.strip().casefold().startswith(("qa", "changeover", "mlflow."))
