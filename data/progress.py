"""How far a long step is, told through a file so that any process can show it.

A stage runs as a child of ``dvc repro``; whoever started it polls ``.work/progress.json``. The file is only ever
replaced whole, at most four times a second.
"""

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class ProgressState:
    """``done`` of ``total`` in units of the stage's own; ``seconds_left`` is None while unknown; ``message`` is for people."""

    stage: str
    done: float
    total: float
    seconds_left: float | None
    message: str


class Progress:
    """Writes the state of one stage to ``folder/.work/progress.json``; time left is linear in what is done."""

    def __init__(self, folder: Path, stage: str) -> None:
        self._file = folder / ".work" / "progress.json"
        self._stage = stage
        self._start = time.monotonic()
        self._last = float("-inf")

    def update(self, done: float, total: float, message: str = "", seconds_left: float | None = None) -> None:
        """Report ``done`` of ``total``; calls that come faster than four a second are dropped, save the last."""
        now = time.monotonic()
        if now - self._last < 0.25 and done < total:
            return
        self._last = now
        if seconds_left is None and done > 0:
            seconds_left = (now - self._start) * max(total - done, 0.0) / done
        state = ProgressState(self._stage, float(done), float(total), seconds_left, message)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        # Replaced whole so that no reader sees half of it, but not forced to the disk: nobody needs it after a power cut.
        written = self._file.with_suffix(f".{os.getpid()}")
        written.write_text(json.dumps(asdict(state)), encoding="utf-8")
        written.replace(self._file)


def read_progress(folder: Path) -> ProgressState | None:
    """The latest state written under ``folder``, or None if there is none or it cannot be read."""
    try:
        return ProgressState(**json.loads((folder / ".work" / "progress.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
