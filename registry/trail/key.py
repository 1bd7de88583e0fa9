"""The key of the plant with which every event is sealed, kept outside the database.

Who has the database can compute hashes and append an event that follows rightly; who has not the key cannot compute its
MAC. The file says ``<key> <number>``: events from that number on carry a MAC, those before it are older than the key.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import sqlalchemy as sa

from registry.errors import Broken, RegistryError
from registry.secrets import kept_secret

SHORTEST_KEY = 32


@dataclass(frozen=True)
class TrailKey:
    """The key, and the number of the first event that it seals."""

    secret: bytes = field(repr=False)
    first: int

    def mac(self, seq: int, digest: str) -> str:
        """HMAC-SHA256 over number and hash of an event, in hexadecimal."""
        return hmac.digest(self.secret, f"{seq}:{digest}".encode("utf-8", "surrogateescape"), hashlib.sha256).hex()

    def holds(self, seq: int, digest: str, mac: object) -> bool:
        """Whether ``mac`` is what this event has to carry: nothing before the key's first event, its MAC from there on."""
        return mac == (self.mac(seq, digest) if seq >= self.first else "")


def key_file(state: Path) -> Path:
    """Where the key of the registry lies whose state folder is ``state``."""
    return state / "secrets" / "trail-key"


def default_key_file(address: sa.URL) -> Path | None:
    """Where the key for the trail at ``address`` lies; None where that does not follow: PostgreSQL, or SQLite in memory."""
    if address.get_backend_name() != "sqlite" or address.database in (None, "", ":memory:"):
        return None
    return key_file(Path(address.database or "").resolve().parent)


def read_key(file: Path) -> TrailKey | None:
    """The key in ``file``; None where there is none.

    ``RegistryError`` where it cannot be read or others can read it, ``Broken`` where it is no key.
    """
    try:
        if not file.exists():
            return None
        text = kept_secret(file, _no_making)
    except OSError as problem:
        raise RegistryError(f"the trail's key {file} cannot be read ({problem.strerror}); ask its owner to run this") from problem
    secret, _, first = text.partition(" ")
    if len(secret) < SHORTEST_KEY or not (first.isascii() and first.isdecimal() and int(first) > 0):
        raise Broken(f"{file} holds no '<key> <number of the first event it seals>': restore it from the backup of the secrets")
    return TrailKey(secret.encode(), int(first))


def made_key(file: Path | None, first: int) -> TrailKey:
    """The key in ``file``, made there for the events from ``first`` on where it is missing; without ``file``, one in memory."""
    if file is None:
        return TrailKey(secrets.token_bytes(32), first)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept_secret(file, lambda: f"{secrets.token_hex(32)} {first}")
    found = read_key(file)
    if found is None:
        raise Broken(f"the trail's key {file} was deleted while it was made; find out by whom and start again")
    return found


def _no_making() -> NoReturn:
    raise FileNotFoundError(2, "it was deleted just now")
