"""Sign-off of a version by quality assurance, and whether it holds."""

import hashlib
from dataclasses import dataclass

from registry.connection import Connection
from registry.errors import Refused
from registry.names import (
    DECISIONS,
    MODEL_FILE,
    TAG_AT,
    TAG_BY,
    TAG_QA,
    TAG_REASON,
    TAG_REPORT,
    check_product,
    check_version,
)
from registry.rules import VersionFacts, sign_off_problem
from registry.versions import REPORT_FILES, Version, version_of


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
    valid: bool
    """Approved, stamped, and the stamped digest is that of the version and of its model file."""
    problem: str
    """Why it is not valid; empty where it is."""


def sign_off(connection: Connection, product: str, version: str | int, decision: str, reason: str) -> SignOff:
    """Signs as the connection's user, in the way MLflow's page does: tag ``qa.reason``, then tag ``qa``.

    Raises ``Refused`` with the server's sentence where the user may not, and where decision or reason are none.
    """
    check_product(product)
    number = check_version(version)
    if decision not in DECISIONS:
        raise Refused(f"decision {decision!r} is none: choose one of {', '.join(DECISIONS)}")
    if not reason.strip():
        raise Refused(f"{product} version {number} cannot be {decision} without a reason; say why")
    # What was signed is closed: it is withdrawn before another reason is given.
    signed = version_of(connection, product, number).qa == "approved"
    withdrawn = ((TAG_QA, "pending"),) if signed else ()
    for key, value in (*withdrawn, (TAG_REASON, reason), *(() if signed and decision == "pending" else ((TAG_QA, decision),))):
        body = {"name": product, "version": number, "key": key, "value": value}
        connection.call("POST", "/api/2.0/mlflow/model-versions/set-tag", json=body)
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
        valid=not problem,
        problem=problem,
    )


def _exchanged(connection: Connection, record: Version) -> str | None:
    where = {"name": record.product, "version": record.version, "path": MODEL_FILE}
    digest = connection.fetch("/model-versions/get-artifact", where)
    if digest == record.digest:
        return _report_exchanged(connection, record)
    return (
        f"the model file of {record.product} version {record.version} has digest {digest[:12]}, signed was"
        f" {record.digest[:12]}: it was exchanged; train again and find out who had access to the artifacts"
    )


def _report_exchanged(connection: Connection, record: Version) -> str | None:
    """QA decided on what the report says: it is part of what was signed."""
    wanted = record.tags.get(TAG_REPORT)
    if wanted is None:
        return None
    digest = hashlib.sha256()
    for name in REPORT_FILES:
        connection.fetch("/get-artifact", {"path": name, "run_uuid": record.run_id}, digest.update)
    if digest.hexdigest() == wanted:
        return None
    return f"the report of {record.product} version {record.version} was exchanged after registration; find out by whom"
