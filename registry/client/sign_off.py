"""Sign-off of a version by quality assurance, and whether it holds."""

import hashlib
from dataclasses import dataclass

from registry.client.connection import Connection
from registry.client.versions import Version, version_of
from registry.errors import Broken, NotFound, Refused
from registry.names import (
    DECISIONS,
    MEANINGS,
    MODEL_FILE,
    TAG_AT,
    TAG_BY,
    TAG_MEANING,
    TAG_NAME,
    TAG_REASON,
    TAG_REPORT,
    TAG_WAY,
    WAIVED,
    check_product,
    check_version,
)
from registry.rules.facts import VersionFacts
from registry.rules.files import REPORT_FILES
from registry.rules.rules import sign_off_problem


@dataclass(frozen=True)
class SignOff:
    """What quality assurance decided on a version."""

    product: str
    version: str
    decision: str
    """``pending``, ``approved`` or ``rejected``."""
    reason: str
    by: str
    at: str
    """UTC, ISO 8601; empty while pending."""
    name: str
    """Full name of who signed."""
    meaning: str
    """One of ``names.MEANINGS``."""
    way: str
    """One of ``names.WAYS``."""
    valid: bool
    """Approved, stamped, and the stamped digest is that of the version and of its model file."""
    problem: str
    """Why it is not valid; empty where it is."""


def sign_off(
    connection: Connection, product: str, version: str | int, decision: str, reason: str, meaning: str = "approved"
) -> SignOff:
    """Signs as the connection's user, whose password is checked again, in one step; ``decision`` is one of ``DECISIONS`` or
    ``waived``, ``meaning`` one of ``MEANINGS``.

    The same decision in the same words changes nothing. Raises ``Refused`` with the server's sentence where the user may not,
    and where decision, meaning or reason are none.
    """
    check_product(product)
    number = check_version(version)
    if decision not in (*DECISIONS, WAIVED):
        raise Refused(f"decision {decision!r} is none: choose one of {', '.join((*DECISIONS, WAIVED))}")
    if meaning not in MEANINGS:
        raise Refused(f"meaning {meaning!r} is none: choose one of {', '.join(MEANINGS)}")
    if not reason.strip():
        raise Refused(f"{product} version {number} cannot be {decision} without a reason; say why")
    body = {"product": product, "version": number, "decision": decision, "meaning": meaning, "reason": reason}
    connection.call("POST", "/changeover/sign", json=body | {"password": connection.password, "way": "terminal"})
    return status(connection, product, number)


def status(connection: Connection, product: str, version: str | int) -> SignOff:
    """The sign-off of a version, checked against the model file itself, which is read for that."""
    return status_of(connection, version_of(connection, product, version))


def status_of(connection: Connection, record: Version) -> SignOff:
    """The same for a version already at hand."""
    facts = VersionFacts(record.product, record.version, record.tags)
    problem = sign_off_problem(facts) or _exchanged(connection, record) or ""
    return SignOff(
        product=record.product,
        version=record.version,
        decision=record.qa,
        reason=record.tags.get(TAG_REASON, ""),
        by=record.tags.get(TAG_BY, ""),
        at=record.tags.get(TAG_AT, ""),
        name=record.tags.get(TAG_NAME, ""),
        meaning=record.tags.get(TAG_MEANING, ""),
        way=record.tags.get(TAG_WAY, ""),
        valid=not problem,
        problem=problem,
    )


def _exchanged(connection: Connection, record: Version) -> str | None:
    """Why the files are not those that were signed, as far as this reader can see; the server, which knows every file, shows none
    of a version of which one was exchanged."""
    where = {"name": record.product, "version": record.version, "path": MODEL_FILE}
    try:
        digest = connection.fetch("/model-versions/get-artifact", where)
        if digest != record.digest:
            return (
                f"the model file of {record.product} version {record.version} has digest {digest[:12]}, signed was"
                f" {record.digest[:12]}: it was exchanged; train again and find out who had access to the artifacts"
            )
        return _report_exchanged(connection, record)
    except (Broken, NotFound) as problem:
        return str(problem)


def _report_exchanged(connection: Connection, record: Version) -> str | None:
    """QA decided on what the report says: it is part of what was signed."""
    wanted = record.tags.get(TAG_REPORT)
    if wanted is None:
        return f"{record.product} version {record.version} has no digest of its report on record; register the model again"
    digest = hashlib.sha256()
    for name in REPORT_FILES:
        connection.fetch("/get-artifact", {"path": name, "run_uuid": record.run_id}, digest.update)
    if digest.hexdigest() == wanted:
        return None
    return f"the report of {record.product} version {record.version} was exchanged after registration; find out by whom"
