"""How much the registry's server takes from one request or connection, and how long it waits for it."""

import json
import os
from dataclasses import asdict, dataclass, fields
from typing import Final

from registry.errors import RegistryError

VARIABLE: Final = "CHANGEOVER_LIMITS"
"""Environment variable in which ``server_command`` hands the limits to the workers, as JSON."""
MIB: Final = 1024**2
HEAD_BYTES: Final = 128 * 1024
"""Longest request line and headers together."""
OPEN_BYTES: Final = 64 * 1024
"""Longest body of a request to an address that needs no log-in, in bytes."""


@dataclass(frozen=True)
class Limits:
    """Limits of one worker process. Raises ``RegistryError`` for a value that is none."""

    body_bytes: int = 16 * MIB
    """Longest body of a request, in bytes."""
    artifact_bytes: int = 8 * 1024 * MIB
    """Longest body of a request that writes an artifact, in bytes."""
    head_seconds: float = 15.0
    """Time for a complete head, from the connection or from its first byte on."""
    silence_seconds: float = 30.0
    """Longest time in which a body brings nothing, or a client takes nothing of its answer."""
    body_seconds: float = 60.0
    """Time for a whole body that is no artifact's."""
    connections: int = 256
    """Connections open at once."""

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            whole = one.type in (int, "int")
            if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not 0 < value < 2**53:
                kind = "a whole number" if whole else "a number"
                raise RegistryError(f"limit {one.name} is {value!r}, but has to be {kind} above 0; the default is {one.default}")
        if self.artifact_bytes < self.body_bytes:
            raise RegistryError(
                f"an artifact may have {self.artifact_bytes} bytes and any other body {self.body_bytes}; allow artifacts more"
            )

    def as_json(self) -> str:
        """The limits as ``of_environment`` reads them."""
        return json.dumps(asdict(self))


DEFAULT: Final = Limits()


def of_environment() -> Limits:
    """The limits that ``server_command`` chose for this process; the defaults where it chose none."""
    text = os.environ.get(VARIABLE)
    if text is None:
        return DEFAULT
    try:
        return Limits(**json.loads(text))
    except (ValueError, TypeError) as problem:
        raise RegistryError(
            f"{VARIABLE} is {text[:200]!r} and holds no limits; start the registry with server_command"
        ) from problem
