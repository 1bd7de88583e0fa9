"""The pointer ``current.json``: which version a line loads. It is set by who has the publisher's key, and taken away by anybody
who may write; a line without a pointer inspects nothing.
"""

import json
import os
import stat
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from registry.errors import Broken, NotFound
from registry.folder import Folder, opened
from registry.line import POINTER, POINTER_KIND, folder_name, pointer_in
from registry.names import check_product
from registry.signature import Publisher


def point(place: Folder, publisher: Publisher, product: str, version: str, digest: str) -> None:
    """Makes the pointer in ``place`` point at a version; one that does so already keeps its time.

    Raises ``Broken`` where a folder is in the way or somebody exchanges it meanwhile.
    """
    wanted = {"product": product, "version": version, "folder": folder_name(version, digest), "digest": digest}
    try:
        if wanted.items() <= pointer_in(place, product, publisher.public).items():
            return
    except (NotFound, Broken):
        pass  # the first one, one without a signature, one of a former key, or no file at all
    at = datetime.now(UTC).isoformat(timespec="seconds")
    place.replace(POINTER, text(publisher.sign(POINTER_KIND, {**wanted, "at": at})))


def retract(product: str, target: Path) -> bool:
    """Takes away the pointer to the model of ``product`` under ``target``; whether there was one.

    The versions' folders stay, for the record. Raises ``Broken`` where it could not be taken away.
    """
    path = target / check_product(product)
    try:
        try:
            with opened(path) as place:
                return place.remove(POINTER)
        except NotFound:
            return False
        except Broken:
            mode = os.lstat(path).st_mode
            if stat.S_ISDIR(mode):
                raise
            if stat.S_ISLNK(mode):  # not ours, and what it leads to could pass for what is published
                path.unlink()
            return stat.S_ISLNK(mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as problem:
        raise Broken(
            f"{path / POINTER} could not be taken away ({problem.strerror or problem}), so lines go on with the version it"
            " names; give the server's user access to the folder, or remove the file"
        ) from problem


def text(content: Mapping[str, Any]) -> bytes:
    """``content`` as a file. In ASCII, so that nothing in it does anything to the terminal that shows it."""
    return (json.dumps(content, indent=2) + "\n").encode()
