"""Waiting until nobody writes to a folder any more: a file that is still being written can look like a whole one."""

import time
from collections.abc import Callable

from core.errors import BadBatch
from data.walk import Walk

QUIET = 1.0
"""Seconds for which sizes and times have to stand still."""
PATIENCE = 60.0
"""Seconds after which waiting for that is given up."""


def settled(walk: Callable[[], Walk]) -> Walk:
    """What ``walk`` finds once the files it finds, their sizes and times have stood still for a second.

    Nothing is waited for where all files are older than that. BadBatch if they do not stand still within a minute.
    """
    found = walk()
    state, until = _state(found), time.monotonic() + PATIENCE
    while any(written is not None and written[1] > time.time_ns() - QUIET * 1e9 for written in state.values()):
        time.sleep(QUIET)
        found = walk()
        now = _state(found)
        if now == state:
            break  # its clock may be ahead of ours: that nothing changed is enough
        if time.monotonic() > until:
            changed = sorted(name for name in now.keys() | state.keys() if now.get(name) != state.get(name))
            raise BadBatch(
                f"{changed[0]!r} and {len(changed) - 1} other files are still being written after {PATIENCE:.0f} s; "
                "run again when the camera has finished"
            )
        state = now
    return found


def _state(found: Walk) -> dict[str, tuple[int, int] | None]:
    """Size and time of each file by name; None for one that cannot be looked at."""
    state: dict[str, tuple[int, int] | None] = {}
    for file in found.files:
        try:
            status = file.path.stat()
            state[file.name] = (status.st_size, status.st_mtime_ns)
        except OSError:
            state[file.name] = None
    return state
