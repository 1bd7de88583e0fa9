"""Processes of ours, told apart from strangers that were given the same number later."""

import contextlib
import os
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class ProcessMark:
    """A process that was started with ``start_new_session``: its id, and when it started in seconds since 1970.

    Linux gives numbers out again, so the number alone must never be trusted with a signal.
    """

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> "ProcessMark":
        """The mark of a running process; ``psutil.NoSuchProcess`` if it has ended."""
        return cls(pid, psutil.Process(pid).create_time())

    def alive(self) -> bool:
        """Whether this very process still runs."""
        try:
            process = psutil.Process(self.pid)
            return bool(abs(process.create_time() - self.started) < 1.0 and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False


def end_group(mark: ProcessMark, patience: float = 10.0) -> bool:
    """End the process and everything in its session: ask, wait ``patience`` seconds, then kill. Whether there was anything.

    A process that got the number later is left alone, with all of its own.
    """
    members = _members(mark)
    leader = [process for process in members if process.pid == mark.pid]
    for process in leader or members:  # a leader ends its own children in order; orphans are asked one by one
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(leader or members, timeout=patience)
    _, alive = psutil.wait_procs(members, timeout=1.0 if leader and not alive else 0.1)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=5.0)
    return bool(members)


def _members(mark: ProcessMark) -> list[psutil.Process]:
    if psutil.pid_exists(mark.pid) and not mark.alive():
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(mark.pid).status() != psutil.STATUS_ZOMBIE:
                return []  # a stranger has the number now; Linux gives it out only when the whole old group is gone
    members = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError, PermissionError):
            ours = os.getsid(process.pid) == mark.pid and process.create_time() >= mark.started - 1.0
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process)
    return members
