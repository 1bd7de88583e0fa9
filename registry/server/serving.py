"""Whether ``changeover serve`` lives: it looks once a minute, and each look is written down here for all workers."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from core.files import replacing

LATE_SECONDS: Final = 150
"""Two looks and a half: whoever was not seen for that long does not live."""


class Serving:
    """``state``: the folder that all workers of the server share."""

    def __init__(self, state: Path) -> None:
        self._file = state / "serve.json"

    def seen(self, since: str | None) -> None:
        """``changeover serve``, which runs ``since`` then (ISO 8601, None where it did not say), has just looked."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with replacing(self._file, 0o600) as fresh:
            fresh.write_text(json.dumps({"since": since, "seen": now}), encoding="utf-8")

    def state(self) -> dict[str, Any]:
        """``since`` and ``seen`` (ISO 8601 or None), and whether it ``lives``."""
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
            since, seen = found["since"], found["seen"]
            age = (datetime.now(UTC) - datetime.fromisoformat(seen)).total_seconds()
        except (OSError, ValueError, KeyError, TypeError):
            return {"since": None, "seen": None, "lives": False}
        return {"since": since, "seen": seen, "lives": since is not None and age < LATE_SECONDS}
