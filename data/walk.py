"""The one walk through a folder of images, for ingest and for inspection: what it finds, and what it leaves with the reason.

Which files are images is not asked here: endings lie, so their content decides.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SYSTEM_FOLDERS = frozenset({"__macosx", "$recycle.bin", "system volume information", "@eadir", "#recycle", "lost+found"})
"""Folders that computers and network disks make for themselves, in small letters: waste and thumbnails."""


@dataclass(frozen=True)
class File:
    """``name``: as it is recorded, with ``/`` between folders, from the folder that was walked."""

    path: Path
    name: str


@dataclass(frozen=True)
class Skipped:
    """What was left. ``expected``: it is nobody's image, as a hidden file; otherwise images may have been missed."""

    path: Path
    name: str
    reason: str
    expected: bool = False


@dataclass(frozen=True)
class Walk:
    """What a walk found, each in the order of names."""

    files: tuple[File, ...]
    skipped: tuple[Skipped, ...]


def walk(source: Path, leave: Path | None = None, follow_out: bool = False) -> Walk:
    """Every file below the folder ``source``.

    Hidden files, folders of the system and the folder ``leave`` are not entered; links to folders are not followed, links to
    files outside ``source`` only with ``follow_out``.
    """
    files: list[File] = []
    skipped: list[Skipped] = []
    left, real = identity(leave), source.resolve()

    def skip(path: Path, reason: str, expected: bool = False) -> None:
        skipped.append(Skipped(path, shown(path.relative_to(source)), reason, expected))

    def enter(path: Path) -> bool:
        if path.name.startswith("."):
            skip(path, "hidden folder", expected=True)
        elif path.name.lower() in SYSTEM_FOLDERS:
            skip(path, "folder of the system", expected=True)
        elif path.is_symlink():
            skip(path, "link to a folder; links are not followed")
        elif left is not None and identity(path) == left:
            skip(path, "folder of the overlays", expected=True)
        else:
            return True
        return False

    def take(path: Path) -> None:
        if path.name.startswith("."):
            skip(path, "hidden file", expected=True)
        elif path.is_symlink() and not path.exists():
            skip(path, "broken link")
        elif path.is_symlink() and not follow_out and not path.resolve().is_relative_to(real):
            skip(path, "link to a file outside the folder")
        else:
            files.append(File(path, shown(path.relative_to(source))))

    def unreadable(error: OSError) -> None:
        skip(Path(error.filename), f"folder cannot be read ({error.strerror})")

    for root, folders, names in os.walk(source, onerror=unreadable):
        folders[:] = [name for name in sorted(folders) if _tried(enter, Path(root, name), skip)]
        for name in names:
            _tried(take, Path(root, name), skip)
    return Walk(tuple(sorted(files, key=lambda file: file.name)), tuple(sorted(skipped, key=lambda one: one.name)))


def _tried(step: Callable[[Path], bool | None], path: Path, skip: Callable[[Path, str], None]) -> bool | None:
    """``step`` at one entry; one whose folder does not let it be looked at is skipped."""
    try:
        return step(path)
    except OSError as error:
        skip(path, f"cannot be looked at ({error.strerror})")
        return False


def identity(path: Path | None) -> tuple[int, int] | None:
    """Which file or folder ``path`` is, however it is spelled; None if there is none."""
    try:
        status = path.stat() if path else None
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if status else None


def shown(path: Path) -> str:
    """A path as text that can be stored as UTF-8, whatever bytes the file system holds."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")
