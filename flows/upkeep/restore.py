"""``changeover restore``: a plant from its backup, at another place if need be. It is a copy until it is adopted."""

import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from core.files import write_text
from flows.config import Registry, Servers
from flows.errors import BackupError
from flows.plant import SETTINGS, Plant
from flows.serving.database_copy import check_empty, restore_database
from flows.serving.identity import Identity, write_identity
from flows.upkeep.backup_file import Backup, check_contents, content, read_backup, unfinished


@dataclass(frozen=True)
class Changed:
    """Settings of the restored plant that are to be others; None: as they were."""

    mlflow_port: int | None = None
    prefect_port: int | None = None
    database: str | None = None


def restore(source: Path, target: Path, changed: Changed, log: Callable[[str], None]) -> tuple[Path, Backup]:
    """Lay the backup ``source`` out as the plant ``target``, which has to be new or empty; its path, and what it was made of.

    Every content is compared with its digest before anything is written. A killed one leaves no folder of that name.
    BackupError says why there is no plant.
    """
    source, target = source.expanduser().absolute(), target.expanduser().resolve()
    _check_target(source, target)
    found = read_backup(source)
    _check_changes(found, changed)
    log("comparing every file with its digest")
    check_contents(source, found)
    if changed.database:
        check_empty(changed.database)
    with unfinished(target) as room:
        log(f"laying out {sum(entry.kind == 'file' for entry in found.entries)} files")
        _lay(source, found, room, target)
        _settings(room, Path(found.plant["path"]), target, changed)
        plant = Plant.init(room)  # completes what depends on the settings, and commits that
        if found.plant["id"]:
            backup_text = f"of {found.made}, {found.head.partition(':')[0] or 'no'} events"
            write_identity(plant, Identity(found.plant["id"], None, {}, restored=backup_text))
        if changed.database:
            log("filling the database")
            restore_database(content(source, found.dump), changed.database)
        room.chmod(stat.S_IMODE(found.mode))  # lines may read below it as other users
    return target, found


def _check_target(source: Path, target: Path) -> None:
    if os.path.lexists(target) and not (target.is_dir() and not any(target.iterdir())):
        raise BackupError(f"{target} is not empty, and a plant is never restored over something; choose a new folder")
    if target.is_dir() and os.path.ismount(target):
        raise BackupError(f"{target} is the root of a disk, which cannot be put in place in one step; choose a folder in it")
    if not target.parent.is_dir():
        raise BackupError(f"{target.parent} is not there; mount that disk or make the folder first")
    if target.is_relative_to(source.resolve()):
        raise BackupError(f"{target} lies in the backup; choose a folder outside of it")


def _check_changes(found: Backup, changed: Changed) -> None:
    if found.dump and changed.database is None:
        raise BackupError("the backup holds a PostgreSQL database; create an empty one and give its address with --database")
    if not found.dump and changed.database is not None:
        raise BackupError("the backup holds SQLite's files, which are not moved to PostgreSQL; leave --database out")
    try:
        Registry(database=changed.database)
        Servers(**_given(mlflow_port=changed.mlflow_port, prefect_port=changed.prefect_port))
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).replace("_", "-")
        raise BackupError(f"--{name}: {first['msg'].removeprefix('Value error, ')}; give another") from error


def _lay(source: Path, found: Backup, room: Path, target: Path) -> None:
    home = found.plant["path"]
    modes = []
    for entry in found.entries:
        place = room / entry.path
        if entry.kind == "folder":
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            modes.append((place, entry.mode))
        elif entry.kind == "file":
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Open for nobody else, not even for a moment.
            with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
                with content(source, entry.sha256).open("rb") as kept:
                    shutil.copyfileobj(kept, stream, 1 << 20)
                stream.flush()
                os.fsync(stream.fileno())
            modes.append((place, entry.mode))
        else:
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            points = entry.target
            inside = points == home or points.startswith(f"{home}/")
            place.symlink_to(f"{target}{points[len(home) :]}" if inside else points)
    for place, mode in reversed(modes):
        place.chmod(stat.S_IMODE(mode))


def _settings(room: Path, home: Path, target: Path, changed: Changed) -> None:
    """Make the changes that were asked for, and paths into the former folder relative; comments of the file stay."""
    file = room / SETTINGS
    values: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    wanted: dict[str, dict[str, Any]] = {
        "servers": _given(mlflow_port=changed.mlflow_port, prefect_port=changed.prefect_port),
        "registry": _given(database=changed.database),
        "storage": _given(**{name: _moved(name, value, home) for name, value in (values.get("storage") or {}).items()}),
    }
    if any(wanted.values()):
        _edit(file, wanted)
    for name in ("config", "config.local"):
        config = room / ".dvc" / name
        if config.is_file() and f"{home}/" in (text := config.read_text(encoding="utf-8")):
            mode = stat.S_IMODE(config.stat().st_mode)
            write_text(config, text.replace(f"{home}/", f"{target}/"))
            config.chmod(mode)


def _moved(setting: str, value: str, home: Path) -> str | None:
    """How the settings name a path from another place: one into the plant leads into the new one, and a store beside the plant
    stays where it is. The published folder is not named anew: a copy must not write there. None: as it was."""
    if "://" in value or value.startswith("~"):
        return None
    if Path(value).is_relative_to(home):
        return Path(value).relative_to(home).as_posix()
    place = Path(os.path.normpath(home / value))
    beside = setting == "remote" and not Path(value).is_absolute() and not place.is_relative_to(home)
    return str(place) if beside else None


def _edit(file: Path, wanted: dict[str, dict[str, Any]]) -> None:
    from dvc.utils.serialize import modify_yaml  # the one parser at hand that keeps comments

    if not yaml.safe_load(file.read_text(encoding="utf-8")):  # nothing but comments, which that parser would lose
        given = {name: values for name, values in wanted.items() if values}
        write_text(file, file.read_text(encoding="utf-8").rstrip("\n") + "\n\n" + yaml.safe_dump(given))
        return
    with modify_yaml(str(file)) as values:
        for name, given in wanted.items():
            if given and values.get(name):
                values[name].update(given)
            elif given:
                values[name] = given


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
