"""Files of a version, fetched whole or not at all, and only as they were registered."""

from collections.abc import Callable
from pathlib import Path

from core.files import replacing
from registry.client.connection import Connection
from registry.errors import Broken


def download(connection: Connection, model: str, version: str, inside: str, digest: str, target: Path) -> Path:
    """Fetches the file ``inside`` a version of the registered model ``model`` to the file ``target``.

    Raises ``Broken`` where its sha256 is not ``digest``, and leaves what was there as it was.
    """
    with replacing(target) as fresh, fresh.open("wb") as file:
        fetch(connection, model, version, inside, digest, file.write)
    return target


def fetch(connection: Connection, model: str, version: str, inside: str, digest: str, write: Callable[[bytes], object]) -> None:
    """Hands the bytes of such a file to ``write``, piece by piece.

    Raises ``Broken`` at the end where their sha256 is not ``digest``: then nothing that was written is used.
    """
    found = connection.fetch("/model-versions/get-artifact", {"name": model, "version": version, "path": inside}, write)
    if found != digest:
        raise Broken(
            f"{Path(inside).name} of {model} version {version} has digest {found[:12]}, registered was"
            f" {digest[:12] or 'none'}: it was exchanged after registration; do not use it, make a new version"
        )
