"""Who may change what of a version in the registry: pure rules, without a server. ``registry.rules.signing_rules`` has those of
the sign-off itself.

Each rule answers None when the change may happen, or one sentence that names what was tried, the rule, and the fix.
MLflow's dialogs show that sentence to people, so it is written for them.
"""

import hashlib
import json
import re
from collections.abc import Mapping

from registry.names import (
    ADMIN,
    ALIASES,
    CANDIDATE,
    CHAMPION,
    PREVIOUS,
    PROMOTER,
    REQUIRED_TAGS,
    STAMPS,
    TAG_AT,
    TAG_BY,
    TAG_DIGEST,
    TAG_GATES,
    TAG_MEANING,
    TAG_NAME,
    TAG_NOTES,
    TAG_QA,
    TAG_REASON,
    TAG_SIGNED_DIGEST,
    TAG_SIGNED_RECORD,
    TAG_WAIVER,
    TAG_WAY,
    TRAINER,
    WAIVER_STAMPS,
    WORDS_BY,
    WRITTEN_BY_SERVER,
    is_product,
)
from registry.rules.facts import Person, VersionFacts
from registry.rules.notes import notes_problem
from registry.rules.signing_rules import gates_problem, may_comment, may_sign, may_waive

__all__ = ["Person", "VersionFacts"]
WRITTEN_BY_QA = (TAG_QA, TAG_REASON, TAG_NOTES, TAG_WAIVER)
SERVERS = STAMPS + WAIVER_STAMPS + WORDS_BY
OURS = re.compile(r"changeover\.[a-z_]{1,40}", re.ASCII)
TAGS, STRICT = "tags", "strict"
"""How a plant may have signatures given: also by setting tags, as MLflow's own page does; or on the review page alone."""
_CLOSED = "this plant has signatures on the review page alone (signature: strict): sign on /changeover/review"
_SIGNED_WITH = (TAG_REASON, TAG_NOTES, TAG_WAIVER, *WAIVER_STAMPS, *WORDS_BY, TAG_NAME, TAG_MEANING, TAG_WAY)
_RECORD = "record "
_NEEDED = (TAG_BY, TAG_AT, TAG_SIGNED_DIGEST, TAG_SIGNED_RECORD)


def set_version_tag(  # noqa: PLR0911 - a rule is a list of refusals
    who: Person, version: VersionFacts, key: str, value: str, signature: str = TAGS
) -> str | None:
    """May ``who`` set tag ``key`` of ``version`` to ``value``, where the plant has signatures given as ``signature`` says?"""
    if key in SERVERS:
        return f"tag '{key}' is stamped by the server alone; set '{TAG_QA}' to sign, and the server adds who, when and what"
    if key in WRITTEN_BY_QA and (problem := not_for_a_line(version)):
        return problem
    if key == TAG_QA:
        return may_sign(who, version, value) or (_CLOSED if signature == STRICT and value != "pending" else None)
    if key in (TAG_REASON, TAG_NOTES):
        problem = may_comment(who, version, key) or (notes_problem(value) if key == TAG_NOTES else None)
        return problem or (_CLOSED if signature == STRICT else None)
    if key == TAG_WAIVER:
        return may_waive(who, version, value) or (_CLOSED if signature == STRICT else None)
    if OURS.fullmatch(key):
        if not who.holds(TRAINER):
            return f"{who} may not set '{key}': the record of a version comes from role {TRAINER}; register a new version"
        if key in version.tags:
            return f"'{key}' of {version} is written once and is '{version.tags[key]}'; register a new version instead"
        if key in WRITTEN_BY_SERVER:
            return f"'{key}' is written by the server alone, from the files that it reads at registration; leave it out"
        if version.decision != "pending":
            return f"the record of {version} was signed as it is ({version.decision}) and is closed; register a new version"
        return None
    if _is_reserved(key):
        return (
            f"tag '{key}' looks like one of the registry's own; use a name of plain ASCII that does not start with 'qa' or"
            " 'changeover'"
        )
    return administer(who, f"set tag '{key}' of {version}")


def delete_version_tag(who: Person, version: VersionFacts, key: str) -> str | None:  # noqa: PLR0911 - a list of refusals
    """May ``who`` delete tag ``key`` of ``version``?"""
    if key in SERVERS:
        return f"tag '{key}' is the server's alone; set '{TAG_QA}' to pending to withdraw a sign-off"
    if key in WRITTEN_BY_QA and (problem := not_for_a_line(version)):
        return problem
    if key == TAG_QA:
        return may_sign(who, version, "pending")
    if key in (TAG_REASON, TAG_NOTES):
        return may_comment(who, version, key)
    if key == TAG_WAIVER:
        return may_waive(who, version, None)
    if key.startswith("changeover."):
        return f"'{key}' belongs to the record of {version}, which is written once; register a new version instead"
    return administer(who, f"delete tag '{key}' of {version}")


def not_for_a_line(version: VersionFacts) -> str | None:
    """Why ``version`` is neither signed nor given an alias, whatever it holds and whoever asks: no line uses it."""
    if is_product(version.product):
        return None
    return (
        f"{version.product} is a teacher, which no line uses: its versions are not signed, not waived and get no alias;"
        " sign the versions that were trained with it"
    )


def record_digest(tags: Mapping[str, str]) -> str:
    """sha256 of all that a sign-off is about: the record (``changeover.*``), reason, notes and waiver and who wrote them, and the
    signature's name, meaning and way, as canonical JSON. Whatever of it changes later makes the sign-off void."""
    signed = {key: value for key, value in tags.items() if key.startswith("changeover.") or key in _SIGNED_WITH}
    text = json.dumps(signed, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def registered_record(tags: Mapping[str, str]) -> str:
    """What the event of a registration says of its record: a digest of the tags that nobody may change afterwards. The tags
    themselves lie in a database that somebody could write to, before anybody has signed them."""
    kept = {key: tags[key] for key in (*WRITTEN_BY_SERVER, *REQUIRED_TAGS) if key in tags}
    return _RECORD + hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def is_other_record(reason: str, tags: Mapping[str, str]) -> bool:
    """Whether ``reason``, of a registration's event, names other ``tags`` than these. Older events name none."""
    return reason.startswith(_RECORD) and reason != registered_record(tags)


def sign_off_problem(version: VersionFacts) -> str | None:
    """Why the sign-off of ``version`` does not hold; None when it does. The files are checked by ``sign_off.status``."""
    if problem := not_for_a_line(version):
        return problem
    if version.decision != "approved":
        return f"{version} is {version.decision}, not approved; quality assurance signs it first"
    missing = [key for key in _NEEDED if not version.tags.get(key)]
    if missing:
        return f"the sign-off of {version} lacks {', '.join(missing)}: the server was cut off while stamping; sign it again"
    if version.tags[TAG_SIGNED_DIGEST] != version.tags.get(TAG_DIGEST):
        return f"the sign-off of {version} is for digest {version.tags[TAG_SIGNED_DIGEST][:12]}, not for its own; sign it again"
    if version.tags[TAG_SIGNED_RECORD] != record_digest(version.tags):
        return f"the record of {version} (threshold, gates, reason …) is not what was signed; find out who changed it"
    return gates_problem(version)


def set_alias(who: Person, version: VersionFacts, alias: str) -> str | None:  # noqa: PLR0911 - a rule is a list of refusals
    """May ``who`` move ``alias`` to ``version``?"""
    if alias not in ALIASES:
        return f"alias '{alias}' is unknown here: the aliases are {', '.join(ALIASES)}; use one of them, or a tag"
    if problem := not_for_a_line(version):
        return problem
    if alias == CANDIDATE:
        if not who.holds(TRAINER):
            return f"{who} may not set alias '{alias}': only role {TRAINER} does, when it registers a version"
        if version.tags.get(TAG_GATES) != "passed":
            return f"{version} did not pass its gates, so it is no candidate; train again, or have them waived and approve it"
        if version.decision != "pending":
            more = "train again" if version.decision == "rejected" else "what becomes of it is quality assurance's to decide"
            return f"{version} was {version.decision}, so it is no candidate of the trainer's; {more}"
        return None
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


def _is_reserved(key: str) -> bool:
    # Letters of other alphabets and invisible ones look like ours, and nobody can tell.
    strange = not key.isascii() or not key.isprintable()
    return strange or key.strip().casefold().startswith(("qa", "changeover", "mlflow."))
