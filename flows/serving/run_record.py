"""What each run of a plant is doing, told through one file a run so that any process can show it, or clean up after it."""

import contextlib
import json
import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from core.files import write_json
from flows.plant import Plant
from flows.serving.processes import ProcessMark

STEPS = ("ingest", "validate", "version", "decide", "regenerate", "tune", "train", "evaluate", "register")
"""The steps of a changeover, in order."""


@dataclass(frozen=True)
class RunState:
    """One run at one moment. ``stage`` marks the process group of a running DVC stage; times are seconds since 1970."""

    product: str
    batch: str
    process: ProcessMark
    flow_run: str | None = None
    step: str = ""
    step_began: float = 0.0
    done: tuple[tuple[str, float, str], ...] = ()
    """Finished steps: name, seconds, a few words on the result."""
    note: str = ""
    stage: ProcessMark | None = None
    file: Path | None = None


_ours: RunState | None = None


def our_run() -> RunState | None:
    """The run that this process makes or made last; None if it made none."""
    return _ours


class RunRecord:
    """Writes the state of the run of this process to ``.changeover/runs``; the file is removed when the run ends in an orderly
    way."""

    def __init__(self, plant: Plant, product: str, batch: str, flow_run: str | None = None) -> None:
        mark = ProcessMark.of(os.getpid())
        self._file = plant.state / "runs" / f"{mark.pid}-{mark.started:.0f}.json"
        self._state = RunState(product, batch, mark, flow_run)
        self._write()

    def begin(self, step: str) -> None:
        """``step`` starts now."""
        self._state = replace(self._state, step=step, step_began=time.time(), note="")
        self._write()

    def finish(self, words: str) -> None:
        """The running step ended well; ``words`` say what came of it."""
        ended = (self._state.step, time.time() - self._state.step_began, words)
        self._state = replace(self._state, done=(*self._state.done, ended), step="", note="", stage=None)
        self._write()

    def note(self, text: str) -> None:
        """Something to show beside the running step, such as what it waits for; "" takes it away."""
        if text != self._state.note:
            self._state = replace(self._state, note=text)
            self._write()

    def stage(self, mark: ProcessMark | None) -> None:
        """A stage runs as this process, or none does any more."""
        self._state = replace(self._state, stage=mark)
        self._write()

    def close(self) -> None:
        """The run has ended and nothing of it is left running."""
        with contextlib.suppress(FileNotFoundError):
            self._file.unlink()

    def _write(self) -> None:
        global _ours  # noqa: PLW0603  # one process makes one run at a time
        _ours = self._state
        values = asdict(replace(self._state, file=None))
        del values["file"]
        write_json(self._file, values)


def read_runs(plant: Plant) -> list[RunState]:
    """All runs that have not ended in an orderly way: those at work and those whose process died."""
    states = []
    for file in sorted((plant.state / "runs").glob("*.json")):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            states.append(_parse(json.loads(file.read_text(encoding="utf-8")), file))
    return states


def _parse(values: dict[str, Any], file: Path) -> RunState:
    values["process"] = ProcessMark(**values["process"])
    values["stage"] = ProcessMark(**values["stage"]) if values["stage"] else None
    values["done"] = tuple((name, seconds, words) for name, seconds, words in values["done"])
    return RunState(**values, file=file)
