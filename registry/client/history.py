"""The versions of a product and what became of them, for a table."""

from dataclasses import dataclass
from datetime import datetime

from registry.client.connection import Connection
from registry.client.versions import versions
from registry.names import TAG_AT, TAG_BY, TAG_REASON


@dataclass(frozen=True)
class HistoryLine:
    """One version."""

    version: str
    batch: str
    created: datetime
    gates: str
    qa: str
    by: str
    """Who signed; empty while pending."""
    at: str
    """When, UTC, ISO 8601; empty while pending."""
    reason: str
    aliases: tuple[str, ...]
    digest: str


def history(connection: Connection, product: str) -> list[HistoryLine]:
    """Every version of ``product``, newest first; empty where there is none."""
    return [
        HistoryLine(
            version=one.version,
            batch=one.batch,
            created=one.created,
            gates=one.gates,
            qa=one.qa,
            by=one.tags.get(TAG_BY, ""),
            at=one.tags.get(TAG_AT, ""),
            reason=one.tags.get(TAG_REASON, ""),
            aliases=one.aliases,
            digest=one.digest,
        )
        for one in versions(connection, product)
    ]
