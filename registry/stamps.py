"""What the server alone writes beside a decision or a waiver: who, when, and on what exactly."""

from datetime import UTC, datetime

from mlflow.entities.model_registry import ModelVersionTag
from mlflow.server.handlers import _get_model_registry_store

from registry.attempts import Attempt
from registry.names import (
    STAMPS,
    TAG_AT,
    TAG_BY,
    TAG_DIGEST,
    TAG_QA,
    TAG_SIGNED_DIGEST,
    TAG_SIGNED_RECORD,
    TAG_WAIVED_AT,
    TAG_WAIVED_BY,
    TAG_WAIVER,
    WAIVER_STAMPS,
)
from registry.rules import record_digest

_OF = {TAG_QA: STAMPS, TAG_WAIVER: WAIVER_STAMPS}


def add(attempt: Attempt, name: str) -> None:
    """After ``name`` set the tag of ``attempt``: the stamps that belong to it, if any do."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    registry = _get_model_registry_store()
    tags = registry.get_model_version(attempt.product, attempt.version).tags
    if attempt.subject == TAG_QA:
        # The record last: until it is there, the sign-off does not hold.
        written = {TAG_BY: name, TAG_AT: now, TAG_SIGNED_DIGEST: tags[TAG_DIGEST], TAG_SIGNED_RECORD: record_digest(tags)}
    elif attempt.subject == TAG_WAIVER:
        written = {TAG_WAIVED_BY: name, TAG_WAIVED_AT: now}
    else:
        return
    for key, value in written.items():
        registry.set_model_version_tag(attempt.product, attempt.version, ModelVersionTag(key, value))


def clear(attempt: Attempt) -> None:
    """Before the tag of ``attempt`` changes: its stamps go, if it has any."""
    registry = _get_model_registry_store()
    for key in _OF.get(attempt.subject, ()):
        registry.delete_model_version_tag(attempt.product, attempt.version, key)
