"""The secrets of a plant's registry: files that only their owner may read."""

import os
import secrets
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from registry.errors import Refused

SHORTEST_PASSWORD: Final = 12
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True)
class Secrets:
    """What the server and the two services need to know and nobody else."""

    session_key: str = field(repr=False)
    admin: str = field(repr=False)
    trainer: str = field(repr=False)
    promoter: str = field(repr=False)
    webhook: str = field(repr=False)
    """Signs what MLflow delivers to ``changeover serve``."""
    webhook_store: str = field(repr=False)
    """Encrypts the former in MLflow's database: a Fernet key."""


def prepare(state_dir: Path, admin_password: str | None = None) -> Secrets:
    """The secrets of the registry whose state is ``state_dir``; writes those that are missing, each in a file of mode 0600.

    ``admin_password`` counts on the first start only; without it one is made up. Deleting the file of a service and
    starting the server again gives that service a new password. Raises ``Refused`` where others can read a secret.
    """
    if admin_password is not None and len(admin_password) < SHORTEST_PASSWORD:
        raise Refused(f"the admin's password has {len(admin_password)} characters, at least {SHORTEST_PASSWORD} are needed")
    folder = state_dir / "secrets"
    for one in (state_dir, folder):
        one.mkdir(mode=0o700, parents=True, exist_ok=True)
        if one.stat().st_mode & _OTHERS:
            one.chmod(0o700)
    return Secrets(
        session_key=kept_secret(folder / "session-key", _password),
        admin=kept_secret(folder / "admin-password", lambda: admin_password or _password()),
        trainer=kept_secret(folder / "trainer-password", _password),
        promoter=kept_secret(folder / "promoter-password", _password),
        webhook=kept_secret(folder / "webhook", _password),
        webhook_store=kept_secret(folder / "webhook-store", lambda: _password() + "="),
    )


def publisher_key_file(state_dir: Path) -> Path:
    """Where the key lies with which the promoter signs what it publishes; it is made at the first publishing."""
    return state_dir / "secrets" / "publisher-key"


def _password() -> str:
    return secrets.token_urlsafe(32)


def kept_secret(path: Path, make: Callable[[], str]) -> str:
    """The text in ``path``, which only its owner may read; where it is missing, what ``make`` gives is written there first.

    Raises ``Refused`` where others can read the file, or where it is empty.
    """
    if not path.exists():
        fresh = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(make())
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(fresh, path)  # fails where another process was first: its secret counts
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    if path.stat().st_mode & _OTHERS:
        raise Refused(f"{path} can be read by others: a secret has mode 600; run chmod 600 on it, and change what it holds")
    text = path.read_text(encoding="utf-8").strip()
    if not text:
        raise Refused(f"{path} is empty: a secret is never empty; delete the file and start again")
    return text


def private_file(path: Path) -> None:
    """Makes ``path`` a file that only its owner may read: empty where there was none, else as it was; so for what SQLite
    keeps beside a database of that name."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        for one in (path, *path.parent.glob(f"{path.name}-*")):
            if one.stat().st_mode & _OTHERS:
                one.chmod(0o600)
