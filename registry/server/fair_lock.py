"""One change of the registry at a time, over all threads of all workers on a host."""

import threading
import time
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

_POLL_SECONDS = 0.005
LOCK_SECONDS = 30.0
"""How long a change of the registry waits for the one before it."""


class FairLock:
    """A lock that many may wait for. Use what ``acquire`` gives as a context manager, or call ``release``.

    A file lock alone is polled by every waiting thread, and whoever is unlucky waits for ever. So the threads of one worker
    queue up in front of it first, and only one of each worker polls.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._queue = threading.Lock()
        self._file = FileLock(path, thread_local=False)  # an upload takes and gives it back in different threads

    def acquire(self, timeout: float) -> "FairLock":
        """Waits for our turn, at most ``timeout`` seconds; ``filelock.Timeout`` after that."""
        end = time.monotonic() + timeout
        if not self._queue.acquire(timeout=timeout):
            raise Timeout(str(self._path))
        try:
            self._file.acquire(timeout=max(0.0, end - time.monotonic()), poll_interval=_POLL_SECONDS)
        except BaseException:
            self._queue.release()
            raise
        return self

    def release(self) -> None:
        """Lets the next one have its turn."""
        self._file.release()
        self._queue.release()

    def __enter__(self) -> "FairLock":
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self.release()
