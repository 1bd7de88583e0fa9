"""Files that are never half-written: write to a temporary name beside the target, fsync, rename."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


@contextmanager
def replacing(target: Path, mode: int = 0o644) -> Iterator[Path]:
    """Yield a temporary path beside ``target``; on success it replaces ``target`` and has ``mode``, on failure it is removed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(mode)
        temporary.replace(target)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise


@contextmanager
def replacing_folder(target: Path, scratch: Path) -> Iterator[Path]:
    """Yield ``scratch``, an empty folder on the file system of ``target``; on success it takes the place of ``target``, whole.

    What else lies in ``target`` (DVC's ``.gitignore``) is kept. On failure ``target`` stays as it was, and a kill leaves the old
    folder, the new one, or for an instant none.
    """
    former = scratch.with_name(f"{scratch.name}.former")
    if former.is_dir() and not target.exists():  # killed in that instant
        former.rename(target)
    for left in (scratch, former):
        shutil.rmtree(left, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        yield scratch
        for other in target.iterdir() if target.is_dir() else ():
            if not (scratch / other.name).exists():
                copy = shutil.copytree if other.is_dir() else shutil.copy2
                copy(other, scratch / other.name)
        for file in scratch.rglob("*"):
            if file.is_file():
                with file.open("rb") as written:
                    os.fsync(written.fileno())
        if target.is_dir():
            target.rename(former)
        try:
            scratch.rename(target)
        except BaseException:
            if former.exists():
                former.rename(target)
            raise
    finally:
        for left in (scratch, former):
            shutil.rmtree(left, ignore_errors=True)


def write_text(target: Path, text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all."""
    with replacing(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, value: Any) -> None:
    """Write ``value`` as indented JSON with sorted keys; NaN and infinity are refused."""
    write_text(target, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def file_digest(path: Path) -> str:
    """SHA-256 of the file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
