"""Whether ``changeover serve`` lives, and since when: it says so to the registry every minute, and the registry to us."""

import datetime
import os
from dataclasses import dataclass
from typing import Any, Final

SINCE: Final = "CHANGEOVER_SERVE_SINCE"
"""In the environment of a serving process and its runs: when it started."""
FIX: Final = "start 'changeover serve'; until then what is approved reaches the line with 'changeover promote'"


@dataclass(frozen=True)
class ServeState:
    """``since`` and ``seen``: when it started and when it was last heard of, UTC, ISO 8601; None if never."""

    since: str | None
    seen: str | None
    lives: bool

    def as_text(self) -> str:
        """For people."""
        if self.lives:
            return f"running since {self.since}"
        last = f" (last seen {self.seen})" if self.seen else ""
        return f"not running{last}: what is approved reaches the line with 'changeover promote'; what is withdrawn is off at once"


def begin_serving() -> str:
    """Remember for this process and its children that serving begins now; the time."""
    os.environ[SINCE] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return os.environ[SINCE]


def serving_since() -> str | None:
    """When the ``serve`` that this process is, or is a run of, started; None elsewhere."""
    return os.environ.get(SINCE) or None


def serve_state(health: dict[str, Any]) -> ServeState:
    """From the answer of ``Connection.check``."""
    answer = health.get("serve") or {}
    return ServeState(answer.get("since"), answer.get("seen"), bool(answer.get("lives")))
