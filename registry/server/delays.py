"""Growing delays for who guesses passwords: by user and address, and by address whoever it names."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

OF_A_USER: Final = 5
"""Failures in a row, for one user from one address, that cost nothing."""
OF_AN_ADDRESS: Final = 20
"""Failures from one address that cost nothing, whoever it names."""
LONGEST_SECONDS: Final = 60.0
QUIET_SECONDS: Final = 15 * 60.0
"""After so long without a failure all is forgotten."""
MOST: Final = 10_000
"""Users and addresses that are remembered; beyond, those that failed longest ago are forgotten."""


@dataclass
class _Failures:
    count: int
    last: float
    until: float


class Delays:
    """Counts of one process. ``now`` gives seconds on a clock that never goes back."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._failures: OrderedDict[tuple[str | None, str], _Failures] = OrderedDict()
        self._lock = threading.Lock()

    def seconds(self, user: str, address: str) -> float:
        """How long the next attempt of ``user`` from ``address`` has to wait; 0 where it need not."""
        now = self._now()
        with self._lock:
            found = (self._failures.get(key) for key in _keys(user, address))
            return max(0.0, *(one.until - now if one is not None else 0.0 for one in found))

    def failed(self, user: str, address: str) -> None:
        """Counts a failure; from the free ones on, the wait is 1, 2, 4, … at most 60 seconds."""
        now = self._now()
        with self._lock:
            for key, free in zip(_keys(user, address), (OF_A_USER, OF_AN_ADDRESS), strict=True):
                one = self._failures.pop(key, None)
                if one is None or now - one.last > QUIET_SECONDS:
                    one = _Failures(0, now, now)
                one.count, one.last = one.count + 1, now
                if one.count >= free:
                    one.until = now + min(LONGEST_SECONDS, 2.0 ** min(one.count - free, 30))
                self._failures[key] = one
            while len(self._failures) > MOST:
                self._failures.popitem(last=False)

    def succeeded(self, user: str, address: str) -> None:
        """Ends a row of failures of a user. That of the address goes on: who has one password may guess at others."""
        with self._lock:
            self._failures.pop(_keys(user, address)[0], None)


def _keys(user: str, address: str) -> tuple[tuple[str | None, str], tuple[str | None, str]]:
    return (user[:256], address), (None, address)
