"""What the line reads against what the registry says: they part where a promotion, a roll-back or a withdrawal got stuck.

Here it is only said. The line itself checks signatures (``registry.line``).
"""

import json
import os
import stat
from collections.abc import Iterable
from typing import Final

from flows.plant import Plant
from registry.names import is_product

POINTER: Final = "current.json"
LONGEST: Final = 1 << 20


def pointed_at(plant: Plant, product: str) -> str | None:
    """The version that the pointer of ``product`` names; None where there is no pointer, "" where it cannot be read."""
    try:
        # A pipe or a device in its place would hold us up for ever.
        with os.fdopen(os.open(plant.publish / product / POINTER, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return ""
            version = json.loads(file.read(LONGEST))["version"]
            return version if isinstance(version, str) else ""
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""


def products_on_the_line(plant: Plant, known: Iterable[str]) -> list[str]:
    """``known`` and every other product that a pointer is published for, sorted: a deleted one may still be on the line."""
    there = {file.parent.name for file in plant.publish.glob(f"*/{POINTER}")}
    return sorted({*known, *filter(is_product, there)})


def disagreement(plant: Plant, product: str, champion: str | None) -> tuple[str, str] | None:
    """What is wrong with the pointer of ``product``, whose champion is version ``champion`` or nobody, and how to mend it;
    None where they agree."""
    pointed, file = pointed_at(plant, product), plant.publish / product / POINTER
    promote = f"run 'changeover promote --product {product}'"
    if pointed == champion:
        return None
    if pointed == "":
        found = f"{file} cannot be read"
        return found, promote if champion else f"remove {file}, so that no line passes parts with it"
    if champion is None:
        return (
            f"the line reads version {pointed}, but the product has no champion",
            f"start 'changeover serve', which takes it off the line, or remove {file}",
        )
    if pointed is None:
        return f"version {champion} is the champion, but nothing is published", promote
    return f"the line reads version {pointed}, but version {champion} is the champion", promote
