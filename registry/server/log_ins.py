"""Whether a user name and password are right: the same time for every name, growing delays for who guesses.

An attacker does not lock out who is at work: a pair that was right within the last ten minutes waits for nothing. It is
checked all the same.
"""

import base64
import binascii
import hmac
import math
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from werkzeug.security import check_password_hash, generate_password_hash

from registry.server.delays import Delays

REMEMBERED_SECONDS: Final = 10 * 60.0
MOST_REMEMBERED: Final = 10_000
HASHES_AT_ONCE: Final = 2
"""Passwords of unremembered pairs that one process hashes at a time: each takes 32 MB and a core."""
_LONGEST_NAME: Final = 255
_BASIC = re.compile(rb"(?i:basic) +([A-Za-z0-9+/]+={0,2})")


class Users(Protocol):
    """What is asked of MLflow's store of users."""

    def authenticate_user(self, username: str, password: str) -> bool: ...

    def has_user(self, username: str) -> bool: ...


@dataclass(frozen=True)
class Outcome:
    """Of one attempt. ``wait``: seconds until a password is looked at again; 0 where this one was."""

    right: bool
    wait: float = 0.0


class LogIns:
    """Log-ins of one process.

    ``quick`` answers as ``users.authenticate_user`` does, and may remember right pairs for some seconds.
    """

    def __init__(
        self, users: Users, quick: Callable[[str, str], bool] | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._users = users
        self._quick = quick or users.authenticate_user
        self._now = now
        self._delays = Delays(now)
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, float] = OrderedDict()
        self._lock = threading.Lock()
        self._hashing = threading.Semaphore(HASHES_AT_ONCE)
        self._nobodys = generate_password_hash(secrets.token_urlsafe())

    def verify(self, user: str, password: str, address: str) -> str | None:
        """None where the password is right, looked up anew; else a sentence. Counts and delays as a log-in does."""
        outcome = self._try(user, password, address, self._users.authenticate_user)
        if outcome.right:
            return None
        return too_many(user, outcome.wait) if outcome.wait else "the user name or the password is not right; type them again"

    def log_in(self, user: str, password: str, address: str) -> Outcome:
        """As ``verify``, for every request: a pair that was right a moment ago costs no hash."""
        return self._try(user, password, address, self._quick)

    def remembers(self, user: str, password: str) -> bool:
        """Whether the pair was right within the last ten minutes, in this process."""
        with self._lock:
            return self._now() - self._right.get(self._mark(user, password), -math.inf) <= REMEMBERED_SECONDS

    def _try(self, user: str, password: str, address: str, check: Callable[[str, str], bool]) -> Outcome:
        # A database can hold or look up no such name; the time is the same as for one that it can.
        name = user if user.isprintable() and len(user) <= _LONGEST_NAME else ""
        password = password.encode("utf-8", "backslashreplace").decode("utf-8")
        if self.remembers(user, password):
            right = self._check(name, password, check)
        else:
            with self._hashing:
                # Asked within: those who were let in together do not all pass before the first is counted.
                wait = self._delays.seconds(user, address)
                if wait > 0:
                    return Outcome(False, wait)
                right = self._check(name, password, check)
                if not right:
                    self._delays.failed(user, address)
        with self._lock:
            mark = self._mark(user, password)
            self._right.pop(mark, None)
            if right:
                self._right[mark] = self._now()
                while len(self._right) > MOST_REMEMBERED:
                    self._right.popitem(last=False)
        if right:
            self._delays.succeeded(user, address)
        return Outcome(right)

    def _check(self, user: str, password: str, check: Callable[[str, str], bool]) -> bool:
        if check(user, password):
            return True
        if not self._users.has_user(user):
            check_password_hash(self._nobodys, password)
        return False

    def _mark(self, user: str, password: str) -> bytes:
        text = f"{len(user)}:{user}{password}".encode("utf-8", "backslashreplace")
        return hmac.digest(self._key, text, "sha256")


def too_many(user: str, wait: float) -> str:
    """What is said to who has to wait for ``wait`` seconds."""
    return (
        f"too many wrong passwords, the last for '{user[:80]}': no password is looked at now; try again in"
        f" {math.ceil(wait)} seconds"
    )


def credentials(headers: Sequence[bytes]) -> tuple[str, str] | None:
    """User name and password in the values of all ``Authorization`` headers; None where they are not one of kind Basic.

    Strict, so that each of MLflow's two readers finds the same in it.
    """
    found = _BASIC.fullmatch(headers[0]) if len(headers) == 1 else None
    if found is None:
        return None
    try:
        user, colon, password = base64.b64decode(found.group(1), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (user, password) if colon else None
