"""The password of the plant's Prefect server.

Who may change a deployment there runs code as the plant's account. So the password is for that account alone: it lies in a file
that only its owner reads, reaches other processes of the account by their environment, and stands on no command line, which
everybody reads. It is one for all, so it says nothing about who somebody is: no sign-off rests on it.
"""

import secrets
from pathlib import Path
from typing import Final

from flows.plant import Plant
from flows.serving.child_environment import PREFECT_PASSWORD
from registry.secrets import kept_secret

USER: Final = "changeover"
FOR_CLIENTS, FOR_THE_SERVER = PREFECT_PASSWORD


def password_file(plant: Plant) -> Path:
    """Where the password lies, as ``changeover:SECRET``, the form that Prefect's pages ask for."""
    return plant.state / "secrets" / "prefect"


def prefect_password(plant: Plant) -> str:
    """``changeover:SECRET``; made at the first call. ``registry.errors.Refused`` where others can read the file."""
    file = password_file(plant)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return kept_secret(file, lambda: f"{USER}:{secrets.token_urlsafe(32)}")


def log_in(plant: Plant) -> tuple[str, str]:
    """User and password, for a client of HTTP."""
    user, _, password = prefect_password(plant).partition(":")
    return user, password
