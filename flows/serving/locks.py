"""Who may do what at the same time: one run a batch, and one heavy stage a host.

The locks are ``flock`` locks: the system frees them when their holder dies, however it dies.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from flows.errors import PlantError
from flows.plant import Plant


@contextmanager
def batch_lock(plant: Plant, product: str, batch: str, waiting: Callable[[str], None]) -> Iterator[None]:
    """Hold the batch: two runs of one batch go one after the other, and the second finds everything done."""
    lock = plant.state / "locks" / product / f"{batch}.lock"
    with _held(lock, f"another run of {product} {batch} is at work; waiting for it to end", waiting):
        yield


@contextmanager
def teacher_lock(plant: Plant, name: str, waiting: Callable[[str], None]) -> Iterator[None]:
    """Hold the working folder of the teacher ``name``: a second training finds it made."""
    lock = plant.state / "locks" / "teachers" / f"{name}.lock"
    with _held(lock, f"teacher {name} is being trained by another command; waiting for it to end", waiting):
        yield


@contextmanager
def host_lock(waiting: Callable[[str], None]) -> Iterator[None]:
    """Hold the host's processors: two trainings at once would each take twice as long and miss their budgets.

    ``CHANGEOVER_HOST_LOCK`` names another lock file, such as one for each GPU of a machine with several.
    """
    with _held(host_lock_file(), "another changeover on this machine is training; waiting for it to end", waiting):
        yield


def host_lock_file() -> Path:
    """The lock of this machine's trainings: one for all plants of an account, so outside of any. PlantError where it cannot be
    written."""
    named = os.environ.get("CHANGEOVER_HOST_LOCK")
    place = named or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        path = Path(place).expanduser() if named else Path(place).expanduser() / "changeover" / "host.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
    except (OSError, RuntimeError) as problem:  # no home at all is the latter
        why = getattr(problem, "strerror", None) or problem
        what = "CHANGEOVER_HOST_LOCK" if named else "XDG_CACHE_HOME" if os.environ.get("XDG_CACHE_HOME") else "HOME"
        raise PlantError(
            f"{place}, where this machine's trainings wait for each other, cannot be written ({why}, as {what} says); set"
            " XDG_CACHE_HOME to a folder, or CHANGEOVER_HOST_LOCK to a file, that this account can write"
        ) from problem
    return path


@contextmanager
def _held(path: Path, text: str, waiting: Callable[[str], None]) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waiting(text)
        lock.acquire(poll_interval=0.2)
    try:
        yield
    finally:
        lock.release()
