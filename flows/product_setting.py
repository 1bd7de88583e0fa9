"""One setting of a product's ``product.yaml`` written from here, where every other line stays as it is."""

import re
import tempfile
from pathlib import Path
from typing import Any

from core.files import write_text
from flows.config import ProductFile, read_product_file
from flows.errors import PlantError


def write_setting(source: Path, name: str, value: Any, lines: list[str]) -> None:
    """Set ``name``, at the left margin of ``source``, which may be missing, to ``value``, written as ``lines``; None takes it
    out.

    Comments and other settings stay where they are. PlantError, and nothing is written, where the file would then say anything
    else than it said before and this value.
    """
    changed(source, name, value, lines)
    source.parent.mkdir(parents=True, exist_ok=True)
    write_text(source, _text(source, name, lines))


def changed(source: Path, name: str, value: Any, lines: list[str]) -> ProductFile:
    """What ``write_setting`` would write, as it would be read. PlantError as there."""
    wanted = _said(read_product_file(source))
    wanted.pop(name, None)
    if value is not None:
        wanted[name] = value
    with tempfile.TemporaryDirectory() as scratch:
        trial = Path(scratch) / source.name
        trial.write_text(_text(source, name, lines), encoding="utf-8")
        try:
            found = read_product_file(trial)
        except PlantError:
            found = None
    if found is None or _said(found) != wanted:
        raise PlantError(f"{source} is written in a way that cannot be changed from here; set {name} in it, then run again")
    return found


def _said(file: ProductFile) -> dict[str, Any]:
    """What a file sets, and nothing else."""
    return file.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _text(source: Path, name: str, lines: list[str]) -> str:
    there = source.read_text(encoding="utf-8").splitlines() if source.exists() else []
    return "\n".join([*_without(there, name), *lines, ""])


def _without(lines: list[str], name: str) -> list[str]:
    """``lines`` without the setting ``name`` and what is indented below it; comments and empty lines between stay."""
    kept, within = [], False
    for line in lines:
        if re.match(rf"{name}\s*:", line):
            within = True
            continue
        aside = not line.strip() or line.lstrip().startswith("#")
        within = within and (aside or line[0] in " \t")
        if aside or not within:
            kept.append(line)
    return kept
