"""The form of a backup: one folder with ``backup.json``, its digest, and each content once under its SHA-256.

<backup>/backup.json        when, of which plant, and every file, link and folder with its mode
         SHA256             "<digest>  backup.json", for sha256sum --check
         files/ab/cdef…     a content, named by its digest
"""

import fcntl
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from core.files import file_digest
from flows.errors import BackupError

FORM = 1
LIST, SUM, CONTENTS = "backup.json", "SHA256", "files"
CHUNK = 1 << 20


@dataclass(frozen=True)
class Entry:
    """Something in the plant's folder. ``path`` is relative to it, with '/'; ``target`` is where a link points."""

    path: str
    kind: Literal["file", "link", "folder"]
    mode: int = 0
    sha256: str = ""
    size: int = 0
    target: str = ""


@dataclass(frozen=True)
class Backup:
    """``made``: ISO 8601, UTC. ``plant``: id and path. ``mode``: of the plant's folder. ``head``: of the trail, which the backup
    holds at least up to there.

    ``dump``: digest of a PostgreSQL dump, or "" where SQLite's files are among the entries. ``elsewhere``: what the plant uses
    and the backup does not hold.
    """

    made: str
    changeover: str
    plant: dict[str, str]
    mode: int
    head: str
    dump: str
    elsewhere: dict[str, str]
    entries: tuple[Entry, ...] = field(repr=False)
    form: int = FORM

    @property
    def digests(self) -> dict[str, int]:
        """Every content and its size in bytes; -1 where that is not on record."""
        found = {entry.sha256: entry.size for entry in self.entries if entry.kind == "file"}
        return found | ({self.dump: -1} if self.dump else {})


def content(folder: Path, digest: str) -> Path:
    """Where a content lies in a backup."""
    return folder / CONTENTS / digest[:2] / digest[2:]


def write_list(folder: Path, backup: Backup) -> None:
    """Write the list and its digest into a folder that holds the contents."""
    text = json.dumps(asdict(backup), indent=1).encode()  # ASCII: a name that is no UTF-8 stays what it is
    for name, written in ((LIST, text), (SUM, f"{hashlib.sha256(text).hexdigest()}  {LIST}\n".encode())):
        with os.fdopen(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(written)
            stream.flush()
            os.fsync(stream.fileno())


def read_backup(folder: Path) -> Backup:
    """The list of a backup; BackupError where there is none, or where it is not as it was written."""
    try:
        text = (folder / LIST).read_bytes()
        wanted = (folder / SUM).read_text(encoding="ascii").partition(" ")[0]
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError) as error:
        raise BackupError(
            f"{folder} is no backup (it lacks {LIST} or {SUM}); name a folder that 'changeover backup' made"
        ) from error
    if hashlib.sha256(text).hexdigest() != wanted:
        raise BackupError(f"{folder / LIST} is not what was written: its digest is another than in {SUM}; take another backup")
    try:
        found: dict[str, Any] = json.loads(text)
        if found["form"] != FORM:
            raise BackupError(f"{folder} has form {found['form']!r}, read is {FORM}; restore it with the Changeover that made it")
        entries = tuple(Entry(**one) for one in found.pop("entries"))
        backup = Backup(**found, entries=entries)
        datetime.fromisoformat(backup.made)
    except (ValueError, TypeError, KeyError) as error:
        raise BackupError(f"{folder / LIST} cannot be read ({type(error).__name__}); take another backup") from error
    _check_paths(folder, backup)
    return backup


def check_contents(folder: Path, backup: Backup) -> None:
    """Compare every content with its digest; BackupError names the first file of the plant that is not whole."""
    for digest, size in backup.digests.items():
        place = content(folder, digest)
        try:
            whole = size in (-1, place.stat().st_size) and file_digest(place) == digest
        except FileNotFoundError:
            whole = False
        if not whole:
            names = [entry.path for entry in backup.entries if entry.sha256 == digest] or ["the database"]
            raise BackupError(
                f"the backup {folder} is damaged: {names[0]} is missing or not what was written; take another backup"
            )


def _check_paths(folder: Path, backup: Backup) -> None:
    """Nothing in the list leads out of the plant's folder."""
    links = {entry.path for entry in backup.entries if entry.kind == "link"}
    for entry in backup.entries:
        path = PurePosixPath(entry.path)
        above = {str(one) for one in path.parents}
        if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in entry.path or above & links:
            raise BackupError(f"{folder / LIST} names {ascii(entry.path)[:200]}, which leads out of a plant; take another backup")


@contextmanager
def unfinished(target: Path) -> Iterator[Path]:
    """A private folder beside ``target`` that becomes it when the block ends well, and else goes.

    What a killed one left is swept by the next. BackupError where another process writes the same target.
    """
    room = target.with_name(f".{target.name}.unfinished")
    room.mkdir(mode=0o700, exist_ok=True)
    handle = os.open(room, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BackupError(f"another process is writing {target}; wait until it has ended") from error
        try:
            _empty(room)
            _keep_private(room)
            yield room
            for folder, _, _ in os.walk(room):
                sync_folder(Path(folder))
            room.rename(target)
            sync_folder(target.parent)
        except BaseException:
            shutil.rmtree(room, ignore_errors=True)
            raise
    finally:
        os.close(handle)


def _keep_private(room: Path) -> None:
    """What is written here holds secrets. BackupError on a disk that keeps no modes."""
    with suppress(PermissionError):
        room.chmod(0o700)
    if room.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise BackupError(
            f"others can read what is written to {room.parent}, but it holds keys and passwords; mount that disk with umask=077"
        )


def _empty(room: Path) -> None:
    for left in room.iterdir():
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        else:
            left.unlink()


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
