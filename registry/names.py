"""The registry's vocabulary: roles, tags, aliases, and how a product, a teacher and a batch may be called."""

import re
from typing import Final

from registry.errors import Refused

TRAINER: Final = "trainer"
PROMOTER: Final = "promoter"
QA: Final = "qa"
VIEWER: Final = "viewer"
ADMIN: Final = "admin"
ROLES: Final = (TRAINER, PROMOTER, QA, VIEWER, ADMIN)
ADMIN_USER: Final = "admin"
TRAINER_USER: Final = "trainer"
PROMOTER_USER: Final = "promoter"

CANDIDATE: Final = "candidate"
CHAMPION: Final = "champion"
PREVIOUS: Final = "previous"
ALIASES: Final = (CANDIDATE, CHAMPION, PREVIOUS)

TAG_BATCH: Final = "changeover.batch"
TAG_DIGEST: Final = "changeover.digest"
TAG_IMAGES: Final = "changeover.images"
TAG_COMMIT: Final = "changeover.commit"
TAG_GATES: Final = "changeover.gates"
TAG_THRESHOLD: Final = "changeover.threshold"
TAG_REPORT: Final = "changeover.report"
"""sha256 of what QA reads beside the model: ``metrics.json`` and ``report.html``, one after the other."""
TAG_TEACHER: Final = "changeover.teacher"
"""``changeover.digest`` of the teacher that the version was trained with; missing where there was none."""
TAG_FILES: Final = "changeover.files"
"""sha256 over every file of the version and of its run, as the server read them at registration (``registry.rules.files``)."""
TAG_LIFE: Final = "changeover.life"
"""Number of ours that this registration alone has, whatever its model is called and whatever became of earlier ones."""
TAG_REQUESTED_BY: Final = "changeover.requested_by"
"""Who asked for the changeover: ``os:NAME`` (an account of the operating system) or ``user:NAME`` (one of the registry)."""
WRITTEN_BY_SERVER: Final = (
    TAG_DIGEST, TAG_GATES, TAG_THRESHOLD, TAG_REPORT, TAG_TEACHER, TAG_FILES, TAG_LIFE, TAG_REQUESTED_BY, TAG_IMAGES, TAG_BATCH,
)  # fmt: skip
"""What the server reads from the files of a version at its registration and writes itself."""
REQUIRED_TAGS: Final = (TAG_BATCH, TAG_DIGEST, TAG_IMAGES, TAG_COMMIT, TAG_GATES)
GATES: Final = ("passed", "failed")

TEACHER: Final = "teacher-"
"""What the registered model of a teacher is called, before the teacher's name."""
TAG_CARD: Final = "changeover.card"
"""sha256 of ``teacher.json``; ``changeover.digest`` is that of ``teacher.safetensors``."""
TAG_SOURCE: Final = "changeover.source"
TAG_LICENCE: Final = "changeover.licence"
TAG_ORIGIN: Final = "changeover.origin"
TAG_NETWORK: Final = "changeover.network"
TEACHER_TAGS: Final = (TAG_DIGEST, TAG_CARD, TAG_SOURCE, TAG_LICENCE, TAG_ORIGIN, TAG_NETWORK)
SOURCES: Final = ("imported", "pulled", "self-supervised", "pseudo-defects", "distilled")

TAG_QA: Final = "qa"
TAG_REASON: Final = "qa.reason"
TAG_BY: Final = "qa.by"
TAG_AT: Final = "qa.at"
TAG_SIGNED_DIGEST: Final = "qa.digest"
TAG_SIGNED_RECORD: Final = "qa.record"
"""Digest of all that was signed: see ``rules.record_digest``."""
TAG_NAME: Final = "qa.name"
"""Full name of who signed, as an administrator entered it; the user's name where none is on record."""
TAG_MEANING: Final = "qa.meaning"
"""What the signature means: one of ``MEANINGS``."""
TAG_WAY: Final = "qa.way"
"""How it was given: one of ``WAYS``."""
STAMPS: Final = (TAG_BY, TAG_NAME, TAG_AT, TAG_MEANING, TAG_WAY, TAG_SIGNED_DIGEST, TAG_SIGNED_RECORD)
TAG_REASON_BY: Final = "qa.reason.by"
"""Who wrote ``qa.reason``: a signature never carries another person's reason."""
TAG_NOTES_BY: Final = "qa.notes.by"
"""Who drew ``qa.notes``."""
WORDS_BY: Final = (TAG_REASON_BY, TAG_NOTES_BY)
MEANINGS: Final = ("reviewed", "approved", "responsible")
WAYS: Final = ("page", "terminal", "tag")
"""On the review page after the report was opened there; with a command; by setting tags, as MLflow's own page does."""
TAG_WAIVER: Final = "qa.waiver"
"""Why failed gates do not stand in the way of this version, as a second person of quality assurance says."""
TAG_WAIVED_BY: Final = "qa.waiver.by"
TAG_WAIVED_AT: Final = "qa.waiver.at"
WAIVER_STAMPS: Final = (TAG_WAIVED_BY, TAG_WAIVED_AT)
TAG_NOTES: Final = "qa.notes"
"""Notes on pictures: a JSON list of {picture, left, top, right, bottom, text}, see ``registry.rules.notes``."""
DECISIONS: Final = ("approved", "rejected", "pending")
WAIVED: Final = "waived"
"""What is decided of a version's gates, beside ``DECISIONS`` of the version itself."""

MODEL_FILE: Final = "artifacts/model.onnx"
"""Where the inspector lies inside a logged model."""

USER: Final = r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}"
"""How a user may be called, at every door."""
FLAGGED: Final = "signature.flagged"
"""The server's event beside the signature of an account that somebody else could have logged in with: its subject."""
TAMPERED: Final = "alias.tampered"
"""The server's event where an alias is not where the trail has it."""
VOID: Final = "sign-off.void"
"""The server's event where the sign-off of a champion does not hold any more."""

_PRODUCT = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
_TEACHER = re.compile(r"teacher-[a-z0-9][a-z0-9._-]{0,50}", re.ASCII)
_BATCH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


def is_product(name: object) -> bool:
    """Whether ``name`` may name a product (and so its registered model and folders)."""
    return isinstance(name, str) and _PRODUCT.fullmatch(name) is not None and not name.startswith(TEACHER)


def is_teacher(name: object) -> bool:
    """Whether ``name`` may name the registered model of a teacher: ``teacher-`` and the name on its card."""
    return isinstance(name, str) and _TEACHER.fullmatch(name) is not None


def is_model(name: object) -> bool:
    """Whether ``name`` may name a registered model: that of a product or of a teacher."""
    return is_product(name) or is_teacher(name)


def is_digest(text: object) -> bool:
    """Whether ``text`` is a sha256 in lower-case hexadecimal."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


def check_product(name: str) -> str:
    """``name`` itself; raises ``Refused`` where it cannot name a product."""
    if isinstance(name, str) and name.startswith(TEACHER):
        raise Refused(f"product {name[:80]!r}: names that start with {TEACHER!r} are those of teachers; name a product")
    if not is_product(name):
        raise Refused(
            f"product {name!r}: 1 to 63 of a-z, 0-9, '.', '_' and '-', starting with a letter or digit; rename the product"
        )
    return name


def check_model(name: str) -> str:
    """``name`` itself; raises ``Refused`` where it names neither a product nor the registered model of a teacher."""
    return name if is_teacher(name) else check_product(name)


def check_batch(name: str) -> str:
    """``name`` itself; raises ``Refused`` where it cannot name a batch."""
    if not isinstance(name, str) or _BATCH.fullmatch(name) is None:
        raise Refused(f"batch {name!r}: 1 to 63 letters, digits, '.', '_' and '-', starting with a letter or digit; rename it")
    return name


def check_version(version: object) -> str:
    """``version`` as MLflow writes it ("1", "2", …); raises ``Refused`` for anything else."""
    text = str(version)
    if re.fullmatch(r"[1-9][0-9]{0,8}", text, re.ASCII) is None:
        raise Refused(f"version {version!r} is not a version: versions are whole numbers from 1; look it up with history")
    return text
