"""Running one DVC stage of one batch: files in, files out, skipped when nothing changed."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from core.errors import ChangeoverError
from data.batch import BatchFolder
from data.progress import read_progress
from data.repository import DVC
from flows.errors import StageError
from flows.serving.child_environment import child_environment
from flows.serving.processes import ProcessMark, end_group

BUSY = ("Unable to acquire lock", "is busy, it is being", "database is locked")
"""What DVC says when another DVC process is at work in the same plant; that passes."""
BUSY_TRIES = 60


@dataclass(frozen=True)
class StageRun:
    """A stage that ended well. ``skipped`` means that its outputs were there already; ``lines`` is what it printed."""

    skipped: bool
    lines: tuple[str, ...]

    @property
    def fact(self) -> str:
        """The last line that the stage itself printed, or "done"."""
        own = [line for line in self.lines if not line.startswith(_DVC_LINES)]
        return own[-1][:200] if own else "done"


_DVC_LINES = (
    "Running stage",
    "> ",
    "Updating lock file",
    "Generating lock file",
    "Use `dvc push`",
    "To track",
    "git add",
    "\tgit add",
    "To enable auto staging",
    "\tdvc config",
    "Stage '",
    "Verifying",
    "WARNING",
    "Restored stage",
    "'",
    "Computing",
)
Result = TypeVar("Result")
Report = Callable[[str, float | None], None]
"""Called with what is being done, and the share of it that is done (0..1, or None where that is not known)."""


def when_free(work: Callable[[], Result]) -> Result:
    """``work`` that uses DVC, tried again while another DVC process is at work in the same plant."""
    for attempt in range(BUSY_TRIES):
        try:
            return work()
        except ChangeoverError as error:
            if not any(busy in str(error) for busy in BUSY) or attempt == BUSY_TRIES - 1:
                raise
        time.sleep(min(0.2 * 1.5**attempt, 5.0))
    raise AssertionError("the loop above returns or raises")


def run_alone(
    folder: BatchFolder,
    stage: str,
    module: str,
    log: Path,
    report: Report,
    environment: Mapping[str, str] | None = None,
    started: Callable[[ProcessMark], None] = lambda mark: None,
) -> None:
    """Run a stage's module in a batch's folder without DVC; what it prints goes to ``log``. StageError if it fails.

    ``started`` is called with the process, which has a session of its own; both are ended when this function is left early.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as stream, _child((sys.executable, "-m", module), folder, stream, started, environment) as child:
        while child.poll() is None:
            time.sleep(0.2)
            state = read_progress(folder.path)
            now = state if state and state.stage == stage and state.total else None
            report(f"{stage}{': ' + now.message if now else ''}", now.done / now.total if now else None)
    if child.returncode:
        lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()] or ["no output"]
        raise StageError(f"{stage} failed: {lines[-1].removeprefix('error: ')[:300]}; see {log}")


def repro(folder: BatchFolder, stage: str, log: Path, started: Callable[[ProcessMark | None], None]) -> StageRun:
    """Run ``dvc repro --single-item stage`` in the batch's folder; everything it prints goes to ``log``.

    ``started`` is called with the process, and with None when it ended. The stage has a session of its own, which is ended when
    this function is left early (Ctrl-C, SIGTERM), so that nothing keeps training. StageError carries the stage's own ``error:``
    line.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(BUSY_TRIES):
        code, lines = _once(folder, stage, log, started)
        if code == 0:
            skipped = any(f"Stage '{stage}' " in line and "skipping" in line for line in lines)
            return StageRun(skipped, lines)
        if not any(busy in line for line in lines for busy in BUSY):
            break
        time.sleep(min(0.2 * 1.5**attempt, 5.0))
    raise StageError(_reason(stage, code, lines, log))


@contextmanager
def _child(
    command: Sequence[str], folder: BatchFolder, stream: BinaryIO, started: Callable[[ProcessMark], None],
    environment: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:  # fmt: skip
    """A program in the batch's folder, in a session of its own, which is ended when the block is left early."""
    # The output goes to a file, not through a pipe: a stage that outlives us must not die at its next line.
    child = subprocess.Popen(
        command, cwd=folder.path, env=child_environment(environment or {}), stdin=subprocess.DEVNULL, stdout=stream,
        stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    mark = ProcessMark.of(child.pid)
    try:
        started(mark)
        yield child
    finally:
        if child.poll() is None:
            end_group(mark, patience=5.0)
            child.wait()


def _once(
    folder: BatchFolder, stage: str, log: Path, started: Callable[[ProcessMark | None], None]
) -> tuple[int, tuple[str, ...]]:
    with log.open("ab") as stream:
        stream.write(f"\n--- {time.strftime('%Y-%m-%d %H:%M:%S')} {stage}\n".encode())
        stream.flush()
        begin = stream.tell()
        try:
            with _child((*DVC, "repro", "--single-item", stage), folder, stream, started) as child:
                code = child.wait()
        finally:
            started(None)
    with log.open("rb") as stream:
        stream.seek(begin)
        text = stream.read().decode(errors="replace")
    return code, tuple(line.rstrip() for line in text.splitlines() if line.strip())


def _reason(stage: str, code: int, lines: tuple[str, ...], log: Path) -> str:
    ours = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if ours:
        return ours[-1]
    if any("No space left on device" in line for line in lines):
        return f"the disk filled up during stage {stage}; free some space and run the same command again (log: {log})"
    raised = [
        line for line in lines if line and not line.startswith((" ", "ERROR", "Traceback")) and "Error" in line.split(":")[0]
    ]
    dvc = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    reason = (raised or dvc or lines or ("it printed nothing",))[-1]
    return f"stage {stage} ended with exit code {code}: {reason[:300]}; see {log}, then run the same command again"
