"""Who may make, describe and delete registered models and their versions: pure rules like those of ``registry.rules.rules``."""

import re
from collections.abc import Iterable, Mapping

from registry.names import (
    ADMIN,
    CHAMPION,
    GATES,
    PREVIOUS,
    REQUIRED_TAGS,
    SOURCES,
    TAG_BATCH,
    TAG_CARD,
    TAG_DIGEST,
    TAG_GATES,
    TAG_QA,
    TAG_REASON,
    TAG_SOURCE,
    TEACHER,
    TEACHER_TAGS,
    TRAINER,
    is_digest,
    is_model,
    is_product,
    is_teacher,
)
from registry.rules.facts import Person, VersionFacts
from registry.rules.rules import OURS, administer
from registry.trail.events import Event

LOGGED_MODEL = re.compile(r"models:/m-[0-9a-f]{32}", re.ASCII)
LONGEST_TAG = 500
"""Characters of one tag of a teacher."""


def register_version(  # noqa: PLR0911 - a rule is a list of refusals
    who: Person,
    product: str,
    source: str,
    tags: Mapping[str, str],
    existing: Iterable[VersionFacts],
    same: Iterable[VersionFacts],
    rejection: Event | None,
) -> str | None:
    """May ``who`` register a version of ``product`` from ``source`` with ``tags``?

    ``same``: versions of whatever product that have the same model file; ``rejection``: the event that turned that file down
    before, under whatever name, whatever became of that version.
    """
    if not who.holds(TRAINER):
        return f"{who} may not register versions of {product}: only role {TRAINER} does; start a changeover"
    if LOGGED_MODEL.fullmatch(source) is None:
        return f"source '{source}' is no logged model of this server (models:/m-…); log the model first, then register it"
    if is_teacher(product):
        return _register_teacher(product, tags, existing)
    if not is_product(product):
        return _no_name(product)
    missing = [key for key in REQUIRED_TAGS if not tags.get(key, "").strip()]
    if missing:
        return f"a version of {product} needs tags {', '.join(missing)} from the start; let 'changeover run' register it"
    strangers = sorted(key for key in tags if not OURS.fullmatch(key) and key != TAG_QA)
    if strangers:
        return f"a new version of {product} may not carry tag '{strangers[0]}': only changeover.* and {TAG_QA}; leave it out"
    if tags.get(TAG_QA, "pending") != "pending":
        return f"a new version of {product} is pending, not '{tags[TAG_QA]}'; quality assurance signs it afterwards"
    if not is_digest(tags[TAG_DIGEST]):
        return f"'{tags[TAG_DIGEST]}' is no sha256 in lower-case hexadecimal; give the digest of model.onnx"
    if rejection is not None:
        return (
            f"the model with digest {tags[TAG_DIGEST][:12]} was rejected as version {rejection.version} of {rejection.product},"
            " and a rejection is final; train again"
        )
    if tags[TAG_GATES] not in GATES:
        return f"'{tags[TAG_GATES]}' says nothing about the gates: '{TAG_GATES}' is one of {', '.join(GATES)}"
    for one in same:
        batch = one.tags.get(TAG_BATCH, "?")
        return f"{one} is this model already, of batch {batch}: a model is registered once, under one name; use that version"
    return None


def _register_teacher(  # noqa: PLR0911 - a rule is a list of refusals
    model: str, tags: Mapping[str, str], existing: Iterable[VersionFacts]
) -> str | None:
    """May a version of the teacher ``model`` carry ``tags``? They say where it comes from; nothing of it is ever signed."""
    missing = [key for key in TEACHER_TAGS if not tags.get(key, "").strip()]
    if missing:
        return f"a version of {model} needs tags {', '.join(missing)} from the start; register it with registry.client.teachers"
    strangers = sorted(set(tags).difference(TEACHER_TAGS))
    if strangers:
        return f"a new version of {model} may not carry tag '{strangers[0]}': only {', '.join(TEACHER_TAGS)}; leave it out"
    for key in (TAG_DIGEST, TAG_CARD):
        if not is_digest(tags[key]):
            return f"'{tags[key]}' is no sha256 in lower-case hexadecimal; '{key}' is the digest of a file of the teacher"
    if tags[TAG_SOURCE] not in SOURCES:
        return f"'{tags[TAG_SOURCE]}' is no source of a teacher: '{TAG_SOURCE}' is one of {', '.join(SOURCES)}"
    for key in TEACHER_TAGS:
        if len(tags[key]) > LONGEST_TAG or not tags[key].isprintable():
            return f"'{key}' of {model} is longer than {LONGEST_TAG} characters, or not all can be printed; write it in one line"
    for one in existing:
        if one.tags.get(TAG_DIGEST) == tags[TAG_DIGEST]:
            return f"{one} has these weights already: a teacher is registered once; use that version"
    return None


def _no_name(name: str) -> str:
    if name.startswith(TEACHER):
        return f"'{name}' cannot name a teacher: after '{TEACHER}' come 1 to 51 of a-z, 0-9, '.', '_', '-'; rename it"
    return f"'{name}' cannot name a product: a-z, 0-9, '.', '_', '-', at most 63; rename it"


def create_model(who: Person, product: str, tags: Iterable[str]) -> str | None:
    """May ``who`` create the registered model ``product``, of a product or of a teacher?"""
    if not who.holds(TRAINER, ADMIN):
        return f"{who} may not create {product}: only role {TRAINER} does, when it registers its first version"
    if not is_model(product):
        return _no_name(product)
    for key in tags:
        # mlflow.prompt.is_prompt would turn a product into a prompt, which other rules guard.
        return f"a new product may not carry tag '{key}'; create it without tags"
    return None


def change_model(who: Person, product: str, what: str, tag: str = "") -> str | None:
    """May ``who`` change the description or tag ``tag`` of the registered model ``product``?"""
    if tag.startswith("mlflow."):
        return f"tag '{tag}' steers MLflow itself and stays as it is; use a name of your own"
    if who.holds(TRAINER, ADMIN):
        return None
    return f"{who} may not {what} of {product}: only roles {TRAINER} and {ADMIN} do; ask an administrator"


def delete_version(who: Person, version: VersionFacts, trained_with: Iterable[VersionFacts] = ()) -> str | None:
    """May ``who`` delete ``version``? ``trained_with``: where it is a teacher's, the versions whose record names it."""
    held = sorted(version.aliases & {CHAMPION, PREVIOUS})
    if held:
        return f"{version} holds {' and '.join(held)} and is never deleted while it does; promote another version first"
    return _needed(f"{version}", trained_with) or administer(who, f"delete {version}")


def delete_model(
    who: Person, product: str, aliases: Iterable[str], what: str = "delete", trained_with: Iterable[VersionFacts] = ()
) -> str | None:
    """May ``who`` delete the registered model ``product``, whose versions hold ``aliases``? ``trained_with``: where it is a
    teacher, the versions whose record names one of its own."""
    held = sorted({CHAMPION, PREVIOUS} & set(aliases))
    if held:
        return f"a version of {product} holds {' and '.join(held)}, so nobody may {what} {product}; retire the version first"
    return _needed(product, trained_with) or administer(who, f"{what} {product}")


def _needed(teacher: str, trained_with: Iterable[VersionFacts]) -> str | None:
    """Why ``teacher`` stays: who trains one of ``trained_with`` again needs it."""
    for one in trained_with:
        return f"{one} was trained with {teacher}, which is kept as long as that version is; delete that version first"
    return None


def rename_model(who: Person, product: str, name: str, has_versions: bool) -> str | None:
    """May ``who`` give the registered model ``product`` the name ``name``?"""
    if is_teacher(product) or name.startswith(TEACHER):
        return f"{product} may not become '{name}': a teacher's card carries its name; register the teacher under the other name"
    if has_versions:
        return f"{product} has versions, whose trail, signatures and published files carry its name, so nobody may rename it"
    return administer(who, f"rename {product}") or (None if is_product(name) else _no_name(name))


def update_version(who: Person, version: VersionFacts) -> str | None:
    """May ``who`` change the description of ``version``?"""
    if is_teacher(version.product):
        return f"the description of {version} stays as it was registered; register the teacher under another name"
    if version.tags.get(TAG_DIGEST):
        return f"the description of {version} is part of what is signed and stays as registered; write '{TAG_REASON}' instead"
    return administer(who, f"describe {version}")
