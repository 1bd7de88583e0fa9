"""Tags that the server writes beside a decision: who, with which name, when, what it means, how it was given, on what exactly.

All that belong to one change are written in one transaction.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mlflow.server.handlers import _get_model_registry_store

from registry.names import (
    STAMPS,
    TAG_AT,
    TAG_BY,
    TAG_DIGEST,
    TAG_MEANING,
    TAG_NAME,
    TAG_NOTES,
    TAG_NOTES_BY,
    TAG_QA,
    TAG_REASON,
    TAG_REASON_BY,
    TAG_SIGNED_DIGEST,
    TAG_SIGNED_RECORD,
    TAG_WAIVED_AT,
    TAG_WAIVED_BY,
    TAG_WAIVER,
    TAG_WAY,
    WAIVER_STAMPS,
)
from registry.rules.rules import record_digest

_OF = {TAG_QA: STAMPS, TAG_WAIVER: WAIVER_STAMPS, TAG_REASON: (TAG_REASON_BY,), TAG_NOTES: (TAG_NOTES_BY,)}
WITHDRAWN = "withdrawn"
"""What stands in place of a meaning while a decision is taken back."""


@dataclass(frozen=True)
class Signer:
    """Who decides, under which full name, with which meaning (``names.MEANINGS``), and how (``names.WAYS``)."""

    user: str
    name: str
    meaning: str
    way: str


def stamped(tags: Mapping[str, str], key: str, signer: Signer) -> dict[str, str | None]:
    """What has to be written when ``key`` has been set among ``tags``, or with it; None stands for a tag that goes."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    if key == TAG_WAIVER:
        return {TAG_WAIVED_BY: signer.user, TAG_WAIVED_AT: now}
    if key in (TAG_REASON, TAG_NOTES):
        return {_OF[key][0]: signer.user}
    if key != TAG_QA:
        return {}
    written: dict[str, str | None] = {TAG_BY: signer.user, TAG_NAME: signer.name, TAG_AT: now, TAG_WAY: signer.way}
    written |= {TAG_MEANING: signer.meaning, TAG_SIGNED_DIGEST: tags[TAG_DIGEST]}
    if tags.get(TAG_QA, "pending") == "pending":
        # Words belong to the signature that they were written for: the next one has its own.
        written |= {TAG_MEANING: WITHDRAWN} | dict.fromkeys((TAG_REASON, TAG_REASON_BY, TAG_NOTES, TAG_NOTES_BY))
    whole = {one: value for one, value in ({**tags, **written}).items() if value is not None}
    return written | {TAG_SIGNED_RECORD: record_digest(whole)}


def cleared(key: str) -> dict[str, str | None]:
    """What goes with ``key`` when it is deleted."""
    words = (TAG_REASON, TAG_REASON_BY, TAG_NOTES, TAG_NOTES_BY) if key == TAG_QA else ()
    return dict.fromkeys((*_OF.get(key, ()), *words))


def write(product: str, version: str, tags: Mapping[str, str | None]) -> None:
    """Sets tags of a version, and takes away those that are None: all in one transaction."""
    from mlflow.store.model_registry.dbmodels.models import SqlModelVersionTag

    if not tags:
        return
    registry: Any = _get_model_registry_store()  # the SQL store, which the server always has
    with registry.ManagedSessionMaker(read_only=False) as session:
        found = registry._get_sql_model_version(session, product, int(version))
        for key, value in tags.items():
            place = {"workspace": found.workspace, "name": product, "version": int(version), "key": key}
            if value is None:
                session.query(SqlModelVersionTag).filter_by(**place).delete()
            else:
                session.merge(SqlModelVersionTag(**place, value=value))
