"""``params.yaml`` of a batch is written here and nowhere else: what somebody changed in it by hand is refused, not lost."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from core.files import write_text
from flows.errors import PlantError

HEAD: Final = "# Written by 'changeover run' from changeover.yaml and {place}: change settings there. Digest "
_START: Final = HEAD.partition("{")[0]


def lay_params(target: Path, params: Mapping[str, Any], place: str) -> None:
    """Write ``params``, which settings in ``changeover.yaml`` and ``place`` gave; a file that says the same is not touched.

    PlantError where the file that is there was changed by hand: the first line carries a digest of the rest. Files that have no
    such line were written by 0.1, which wrote over such changes.
    """
    body = yaml.safe_dump(dict(params), sort_keys=False)
    if target.exists():
        try:
            text = target.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise PlantError(f"{target} is no text in UTF-8; delete it and run the same command again") from error
        head, _, rest = text.partition("\n")
        if (rest if head.startswith(_START) else text) == body:
            return
        if head.startswith(_START) and not head.endswith(_digest(rest)):
            raise PlantError(
                f"{target} was changed by hand{_changes(rest, params)}; set that in {place} instead, delete this file, and run "
                "the same command again"
            )
    write_text(target, f"{HEAD.format(place=place)}{_digest(body)}\n{body}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _changes(text: str, params: Mapping[str, Any]) -> str:
    """The settings of ``text`` that are not those of ``params``, in words."""
    try:
        found = dict(_flat("", yaml.safe_load(text)))
    except (yaml.YAMLError, AttributeError, RecursionError):
        return ""
    wanted = dict(_flat("", params))
    keys = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
    said = ", ".join(f"{key} is {str(found.get(key, 'gone'))[:40]}" for key in keys[:3])
    return f" ({said}{', …' if len(keys) > 3 else ''})" if keys else ""


def _flat(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}", value
