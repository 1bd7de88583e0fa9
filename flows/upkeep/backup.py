"""``changeover backup``: everything that a plant cannot make again, in one folder, while its servers run.

The database comes first, together with git's history and the kept heads, while nobody commits: no kept head is newer than the
trail, and no version older than its commit. The other files follow: those behind a registered version never change or go.
"""

import fnmatch
import hashlib
import importlib.metadata
import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from core.files import file_digest, write_json
from data.version import plant_lock
from flows.errors import BackupError
from flows.plant import Plant
from flows.serving.database_copy import DUMP, copy_database
from flows.serving.identity import identity_of, outside
from flows.upkeep.backup_file import CHUNK, CONTENTS, Backup, Entry, content, unfinished, write_list
from registry.errors import NotFound
from registry.server.app import DATABASE
from registry.trail import audit

LAST = "last-backup.json"
LEFT_OUT = (
    ".changeover/mlflow/mlflow.db*",  # copied by SQLite itself
    ".changeover/mlflow/users.db*",
    ".changeover/mlflow/serve.json",
    ".changeover/prefect",  # what ran when; 'serve' writes its deployments anew
    ".changeover/logs",
    ".changeover/runs",
    ".changeover/rebuild",
    ".changeover/pulled-*",
    ".changeover/servers.json",
    ".changeover/plant.json",  # a restored plant gets one that says so
    f".changeover/{LAST}",
    ".changeover/*.lock",
    ".changeover/mlflow/*.lock",
    ".dvc/tmp",
    ".git/worktrees",
    ".git/*.lock",
    "products/*/*/.work",
)
"""Of the plant's folder, besides what the line reads, which a promotion publishes again."""
FIRST = (".git", "audit")
_FOLLOWED = (".changeover", ".dvc")
"""Here a link to another disk is followed; elsewhere it is kept as a link."""


@dataclass(frozen=True)
class Made:
    """``size``: bytes of the contents in the backup, each once; ``files``: of the plant."""

    target: Path
    backup: Backup
    files: int
    size: int


@dataclass(frozen=True)
class LastBackup:
    """The backup that was made last, and where."""

    made: datetime
    target: str


def backup(plant: Plant, target: Path, log: Callable[[str], None]) -> Made:
    """Back the plant up into ``target``, which must not exist. A killed one leaves no folder of that name.

    The backup holds the plant's secrets and is for its account alone (mode 0700). BackupError says why there is none.
    """
    target = target.expanduser().absolute()
    _check_target(plant, target)
    _check_git(plant)
    with unfinished(target) as room:
        (room / CONTENTS).mkdir(mode=0o700)
        made = datetime.now(UTC)
        log("the database and git's history")
        with plant_lock(plant.path):
            entries, dump, head = _database(plant, room)
            for name in FIRST:
                entries += _tree(plant, room, plant.path / name)
        log("files")
        for place in sorted(plant.path.iterdir()):
            if place.name not in FIRST:
                entries += _tree(plant, room, place)
        known = identity_of(plant)
        found = Backup(
            made=made.isoformat(timespec="seconds"),
            changeover=importlib.metadata.version("changeover"),
            plant={"id": known.id if known else "", "path": str(plant.path)},
            mode=stat.S_IMODE(plant.path.stat().st_mode),
            head=head,
            dump=dump,
            elsewhere=_elsewhere(plant),
            entries=tuple(entries),
        )
        write_list(room, found)
        size = sum(content(room, digest).stat().st_size for digest in found.digests)
    write_json(plant.state / LAST, {"made": found.made, "target": str(target)})
    return Made(target, found, sum(entry.kind == "file" for entry in entries), size)


def last_backup(plant: Plant) -> LastBackup | None:
    """What the plant knows of its last backup; None where none was made."""
    try:
        found = json.loads((plant.state / LAST).read_text(encoding="utf-8"))
        return LastBackup(datetime.fromisoformat(found["made"]), str(found["target"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _check_target(plant: Plant, target: Path) -> None:
    if os.path.lexists(target):
        raise BackupError(f"{target} is there already, and a backup never replaces another; choose a new name")
    if not target.parent.is_dir():
        raise BackupError(f"{target.parent} is not there; mount that disk or make the folder first")
    if target.parent.resolve().is_relative_to(plant.path.resolve()):
        raise BackupError(f"{target} lies in the plant and would be lost with it; choose a folder on another disk")


def _check_git(plant: Plant) -> None:
    if not (plant.path / ".git").is_dir():
        raise BackupError(
            f"{plant.path / '.git'} is no folder, so git's history lies elsewhere; make the plant a clone of its own"
        )
    if (plant.path / ".git" / "objects" / "info" / "alternates").exists():
        raise BackupError(f"git's history of {plant.path} lies in another repository in part; run 'git repack -a -d' in it first")


def _database(plant: Plant, room: Path) -> tuple[list[Entry], str, str]:
    """Entries of SQLite's files, the digest of a dump, and a head of the trail that is in either."""
    at_least = _head(plant.config.registry.database) if plant.config.registry.database else ""
    with tempfile.TemporaryDirectory(dir=room) as place:
        copies = {copy.name: copy for copy in copy_database(plant, Path(place))}
        head = _head(copies[DATABASE]) if DATABASE in copies else at_least
        kept = {name: _put(copy, room) for name, copy in copies.items()}
    dump = kept.pop(DUMP, None)
    found = [replace(entry, path=f".changeover/mlflow/{name}", mode=0o600) for name, entry in kept.items()]
    return found, dump.sha256 if dump else "", head


def _head(source: Path | str) -> str:
    try:
        return audit.head(source)
    except NotFound:  # it was never up
        return ""


def _tree(plant: Plant, room: Path, place: Path) -> Iterator[Entry]:
    """``place`` and all below it that belongs into a backup; its contents are put into ``room``."""
    path = place.relative_to(plant.path).as_posix()
    if _left_out(path) or place == plant.publish:
        return
    try:
        if place.is_symlink() and path.partition("/")[0] not in _FOLLOWED:
            yield Entry(path, "link", target=str(place.readlink()))
            return
        facts = place.stat()
        if stat.S_ISDIR(facts.st_mode):
            yield Entry(path, "folder", stat.S_IMODE(facts.st_mode))
            for below in sorted(place.iterdir()):
                yield from _tree(plant, room, below)
        elif stat.S_ISREG(facts.st_mode):
            yield replace(_put(place, room), path=path, mode=stat.S_IMODE(facts.st_mode))
    except FileNotFoundError:
        return  # a temporary file that has its name by now


def _left_out(path: str) -> bool:
    """Part by part: a star that took a '/' would leave out every ``dvc.lock`` among the artifacts."""
    parts = path.split("/")
    wanted = (pattern.split("/") for pattern in LEFT_OUT)
    return any(len(one) == len(parts) and all(map(fnmatch.fnmatchcase, parts, one)) for one in wanted)


def _put(source: Path, room: Path) -> Entry:
    """Put a content into the backup, once, and give its digest and size."""
    digest = file_digest(source)
    place = content(room, digest)
    if not place.exists():
        # It may change meanwhile: what counts is what was written.
        handle, name = tempfile.mkstemp(dir=room / CONTENTS)
        try:
            copied = hashlib.sha256()
            with os.fdopen(handle, "wb") as stream, source.open("rb") as original:
                while chunk := original.read(CHUNK):
                    copied.update(chunk)
                    stream.write(chunk)
                stream.flush()
                os.fsync(stream.fileno())
            digest = copied.hexdigest()
            place = content(room, digest)
            place.parent.mkdir(mode=0o700, exist_ok=True)
            Path(name).rename(place)
        finally:
            Path(name).unlink(missing_ok=True)
    return Entry("", "file", sha256=digest, size=place.stat().st_size)


def _elsewhere(plant: Plant) -> dict[str, str]:
    """What the plant uses and the backup does not hold, besides the database, which it does."""
    found = {name: value for name, value in outside(plant).items() if name != "registry.database"}
    remote = plant.config.storage.remote
    if "://" not in remote:
        folder, home = plant.path / Path(remote).expanduser(), plant.path.resolve()
        if folder.resolve().is_relative_to(home) or any(folder.is_relative_to(plant.path / name) for name in _FOLLOWED):
            return found
    return found | {"storage.remote": remote}
