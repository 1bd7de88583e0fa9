"""Events of requests without a valid log-in. Whoever sends a million of them must not fill the trail with a million."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from registry.trail.events import Entry, Trail

EACH_MINUTE: Final = 20
"""Events that one process writes one by one."""
MINUTE: Final = 60.0
_MOST_ADDRESSES: Final = 1000
_log = logging.getLogger(__name__)


class Strangers:
    """Writes the first events of each minute one by one, and counts what is beyond into one when the minute is over."""

    def __init__(self, trail: Trail, minute: float = MINUTE, now: Callable[[], float] = time.monotonic) -> None:
        self._trail = trail
        self._minute = minute
        self._now = now
        self._lock = threading.Lock()
        self._begun = -minute
        self._written = 0
        self._more = 0
        self._addresses: set[str] = set()
        self._last: Entry | None = None

    def record(self, entry: Entry) -> None:
        """Writes ``entry``, or counts it."""
        with self._lock:
            if self._more == 0 and self._now() - self._begun >= self._minute:
                self._begun, self._written = self._now(), 0
            alone = self._written < EACH_MINUTE
            if alone:
                self._written += 1
            else:
                self._count(entry)
        if not alone:
            return
        try:
            self._trail.append(entry)
        except Exception:
            with self._lock:  # it was not written: it takes nobody's place
                self._written = max(0, self._written - 1)
            raise

    def close(self) -> None:
        """Writes what is only counted, now: when a minute is over, and at the end of the process."""
        with self._lock:
            more, last, seen = self._more, self._last, self._addresses
            self._more, self._last, self._addresses = 0, None, set()
            self._begun = -self._minute
        if last is None:
            return
        addresses = len(seen)
        whole = f"{addresses:,}" if addresses < _MOST_ADDRESSES else f"at least {addresses:,}"
        reason = f"and {more:,} more attempts from {whole} addresses in the last minute, the last as '{last.subject}'"
        try:
            self._trail.append(last.model_copy(update={"reason": reason, "action": "log-in"}))
        except Exception:
            self._count_again(more, last, seen)
            raise

    def _count_again(self, more: int, last: Entry, addresses: set[str]) -> None:
        """The trail was away: what was counted goes into the next minute's event."""
        with self._lock:
            if self._more == 0:
                self._begun = self._now()
                self._written = EACH_MINUTE
                self._schedule(self._minute)
            self._more += more
            self._last = self._last or last
            self._addresses |= addresses

    def _schedule(self, seconds: float) -> None:
        timer = threading.Timer(seconds, self._minute_is_over)
        timer.daemon = True
        timer.start()

    def _count(self, entry: Entry) -> None:
        if self._more == 0:
            self._schedule(max(0.0, self._begun + self._minute - self._now()))
        self._more += 1
        self._last = entry
        if len(self._addresses) < _MOST_ADDRESSES:
            self._addresses.add(entry.address)

    def _minute_is_over(self) -> None:
        try:
            self.close()
        except Exception:  # noqa: BLE001 - a thread of its own: the log is the only one it can tell
            _log.exception("attempts without a valid log-in could not be written to the trail")
