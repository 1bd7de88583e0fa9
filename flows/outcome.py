"""What came of a changeover."""

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Outcome:
    """``candidate``: a version waits for QA; ``failed gates``: a version is on record but must not be used; ``kept``: the
    champion still fits and nothing was trained. ``url`` is the page to sign at, ``report`` the path of the QA report.
    """

    status: Literal["candidate", "failed gates", "kept"]
    product: str
    batch: str
    version: str | None
    url: str | None
    report: str | None
    reason: str
    """One sentence for people."""
    seconds: float
    """Time that this run took."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)
