"""What DVC's cache should hold of a batch and does not: images, and what stages made; pulled from the store where it has it."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from core.errors import BadBatch
from data.batch import BatchFolder
from data.dvc_settings import read_settings
from data.store import check_readable, fetch

_HASH = re.compile(r"[0-9a-f]{32}(\.dir)?", re.ASCII)
POINTERS = ("good.dvc", "library.dvc")


@dataclass(frozen=True)
class Lost:
    """``output``: "good", "model", "report/report.html". ``md5``: DVC's hash, which ends with ``.dir`` where the list of a folder
    is lost. ``files``: how many of the folder's files are, with ``first`` one of them."""

    output: str
    md5: str
    files: int = 1
    first: str = ""

    def as_text(self) -> str:
        """In words: ``the list of files of model/ (2f3a….dir)``."""
        if self.md5.endswith(".dir"):
            return f"the list of files of {self.output}/ ({self.md5})"
        if self.first:
            return f"{self.files} of the files of {self.output}/, first {self.first} ({self.md5})"
        return f"{self.output} ({self.md5})"


def lost(plant: Path, folder: BatchFolder) -> list[Lost]:
    """What is on record for the batch and is not in the cache of ``plant``. BadBatch where the record cannot be read."""
    return _lost_among(plant, _recorded(folder))


def lost_of(plant: Path, folder: Path, pointers: Sequence[str]) -> list[Lost]:
    """The same for what ``pointers`` (``good.dvc``) in ``folder`` name."""
    return _lost_among(plant, _named([out for name in pointers for out in _read(folder / name).get("outs") or []], folder))


def fetch_lost(plant: Path, folder: BatchFolder) -> list[Lost]:
    """Fetch into the cache what it has lost; gives what the store has not either. StorageError where it does not answer."""
    if not (gone := lost(plant, folder)):
        return []
    targets = [f"{one.output}.dvc" for one in gone if f"{one.output}.dvc" in POINTERS]
    if len(targets) < len(gone):
        targets.append("dvc.yaml")
    fetch(plant, folder.path, *targets)
    if gone := lost(plant, folder):
        check_readable(plant)
    return gone


def _lost_among(plant: Path, outputs: Mapping[str, str]) -> list[Lost]:
    settings = read_settings(plant).get("cache") or {}
    cache = Path(str(settings.get("dir") or plant / ".dvc" / "cache")) / "files" / "md5"
    return [gone for output, md5 in outputs.items() if (gone := _lost(cache, output, md5)) is not None]


def _lost(cache: Path, output: str, md5: str) -> Lost | None:
    if not _place(cache, md5).is_file():
        return Lost(output, md5)
    if not md5.endswith(".dir"):
        return None
    try:
        listed = [(str(entry["md5"]), str(entry["relpath"])) for entry in json.loads(_place(cache, md5).read_bytes())]
    except (OSError, ValueError, KeyError, TypeError):
        return Lost(output, md5)  # a list that cannot be read is as good as none
    gone = [(digest, name) for digest, name in listed if not _place(cache, digest).is_file()]
    return Lost(output, gone[0][0], len(gone), gone[0][1]) if gone else None


def _place(cache: Path, md5: str) -> Path:
    return cache / md5[:2] / md5[2:]


def _recorded(folder: BatchFolder) -> dict[str, str]:
    """DVC's hash of each output that belongs into the cache."""
    pipeline = _read(folder.file("dvc.yaml")).get("stages") or {}
    locked = _read(folder.file("dvc.lock")).get("stages") or {}
    try:
        outs = [out for name in POINTERS for out in _read(folder.file(name)).get("outs") or []]
        for stage, made in locked.items():
            # One that only git keeps is written {path: {cache: false}}.
            plain = {out for out in (pipeline.get(stage) or {}).get("outs") or [] if isinstance(out, str)}
            outs += [out for out in made.get("outs") or [] if out["path"] in plain]
    except (KeyError, TypeError, AttributeError) as error:
        raise BadBatch(f"dvc.lock in {folder.path} is damaged; take it back with 'git checkout'") from error
    return _named(outs, folder.path)


def _named(outs: Sequence[Any], folder: Path) -> dict[str, str]:
    try:
        found = {str(out["path"]): str(out["md5"]) for out in outs}
    except (KeyError, TypeError) as error:
        raise BadBatch(f"a .dvc file or dvc.lock in {folder} is damaged; take it back with 'git checkout'") from error
    if wrong := next((md5 for md5 in found.values() if _HASH.fullmatch(md5) is None), None):
        raise BadBatch(f"a .dvc file or dvc.lock in {folder} has the hash {wrong[:40]!r}, which is none; take it back with git")
    return found


def _read(file: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadBatch(f"{file} cannot be read; take it back with 'git checkout'") from error
    return found if isinstance(found, dict) else {}
