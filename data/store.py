"""The plant's store of images and models (DVC's remote): whether it does what it should, and in words why not."""

import fcntl
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import ChangeoverError, StorageError
from data.dvc_settings import dvc_config, read_settings, write_settings
from data.repository import dvc
from data.storage_error import storage_error, without_user

CONNECT_SECONDS, ANSWER_SECONDS = 5, 20
_PROBE = b"Changeover looks whether this store can be written. This file may be deleted.\n"


@dataclass(frozen=True)
class Probed:
    """``place``: where the store is, in words. ``left``: why the probe could not be deleted, "" where it was."""

    place: str
    left: str = ""


def probe_store(plant: Path) -> Probed:
    """Write, read and delete a small object in the plant's store, with the settings that DVC uses.

    StorageError names place, step and reason where it cannot be written, or gives back something else. A store that keeps
    what it has (no right to delete) is fit for use: ``left`` says so.
    """
    name, url = _remote(plant)
    if not url:
        raise StorageError(f"{plant} has no store of images and models; set storage.remote and run 'changeover init' on it")
    if "://" in url:
        return _probe_remote(plant, name, url)
    return _probe_folder(Path(url))


def check_readable(plant: Path) -> None:
    """StorageError where the store cannot be read; an empty one is none, but a missing bucket is, which DVC takes for empty."""
    name, url = _remote(plant)
    place, files, root = _opened(plant, name, url)
    try:
        files.ls(root)
    except Exception as error:
        if not isinstance(error, FileNotFoundError) or error.__cause__ is not None:
            raise storage_error(error, place, "cannot be read") from error


def place_of(plant: Path) -> str:
    """Where the store is, in words, as ``probe_store`` says it."""
    return f"storage {without_user(_remote(plant)[1])}"


def _remote(plant: Path) -> tuple[str, str]:
    """Name and address of the default remote, "" where there is none."""
    settings = read_settings(plant)
    name = str((settings.get("core") or {}).get("remote", ""))
    return name, str(((settings.get("remote") or {}).get(name) or {}).get("url", ""))


def _probe_folder(folder: Path) -> Probed:
    # DVC makes the folder with the first batch, so until then the nearest one that is there has to be writable.
    there = folder
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    probe = there / f".changeover-probe-{secrets.token_hex(8)}"

    def write() -> None:
        with probe.open("xb") as stream:
            stream.write(_PROBE)
            stream.flush()
            os.fsync(stream.fileno())

    return _probed(f"storage {folder}", write, probe.read_bytes, probe.unlink)


def _probe_remote(plant: Path, name: str, url: str) -> Probed:
    place, files, root = _opened(plant, name, url)
    probe = f"{root.rstrip('/')}/.changeover-probe-{secrets.token_hex(8)}"
    # Its own limits leave out the wait for the permission to send a body, which may last for ever.
    limit = {"timeout": 3 * ANSWER_SECONDS} if getattr(files, "async_impl", False) else {}
    return _probed(
        place,
        lambda: files.pipe_file(probe, _PROBE, **limit),
        lambda: bytes(files.cat_file(probe, **limit)),
        lambda: files.rm_file(probe, **limit),
    )


def _opened(plant: Path, name: str, url: str) -> tuple[str, Any, str]:
    """The store in words, DVC's file system for it, and where it begins there."""
    from dvc.fs import get_cloud_fs

    place = f"storage {without_user(url)}"
    try:
        kind, settings, root = get_cloud_fs(dvc_config(plant), name=name)
        filesystem = kind(**settings)
        _answer_soon(filesystem)
        files = filesystem.fs
        if endpoint := _endpoint(files):
            place += f" at {endpoint}"
    except Exception as error:  # a missing profile, a wrong value: whatever the client raises
        raise storage_error(error, place, "cannot be used", "correct .dvc/config and the credentials") from error
    return place, files, root


def _probed(place: str, write: Callable[[], object], read: Callable[[], bytes], delete: Callable[[], object]) -> Probed:
    """Do the three steps; each may raise whatever the client of this kind of store raises."""
    try:
        write()
    except Exception as error:
        raise storage_error(error, place, "cannot be written") from error
    try:
        found = read()
    except Exception as error:
        raise storage_error(error, place, "cannot be read") from error
    left = ""
    try:
        delete()
    except Exception as error:  # noqa: BLE001 - see above
        left = str(storage_error(error, place, "does not let its probe be deleted"))
    if found != _PROBE:
        raise StorageError(f"{place} gives back something else than was written; see what lies between, and check its disks")
    return Probed(place, left)


def _answer_soon(filesystem: Any) -> None:
    """Some patience, not minutes of it: a person waits for the sentence."""
    arguments = getattr(filesystem, "fs_args", {})
    patience = arguments.setdefault("config_kwargs", {})
    patience.setdefault("connect_timeout", CONNECT_SECONDS)
    patience.setdefault("read_timeout", ANSWER_SECONDS)
    patience.setdefault("retries", {"max_attempts": 1})
    if hasattr(filesystem.fs, "retries"):
        filesystem.fs.retries = 1


def _endpoint(files: Any) -> str:
    """The address that S3's client talks to, "" for other kinds of stores."""
    client = getattr(files, "_s3", None)
    return without_user(str(client.meta.endpoint_url)) if client is not None else ""


def push(plant: Path, folder: Path, *targets: str) -> None:
    """``dvc push`` of ``targets`` in ``folder``; nothing where the plant has no store.

    StorageError where the store does not take them; ChangeoverError for DVC's other reasons.
    """
    if _remote(plant)[1]:
        _with_store(plant, folder, "push", *targets)


def fetch(plant: Path, folder: Path, *targets: str) -> None:
    """``dvc fetch`` of ``targets`` in ``folder`` into the cache; what the store has not is no error (see ``data.lost``)."""
    _with_store(plant, folder, "fetch", *targets)


def _with_store(plant: Path, folder: Path, verb: str, *targets: str) -> None:
    try:
        with _apart(plant, folder, targets) as place:
            dvc(place, verb, *targets)  # without --quiet, which swallows the reason
    except ChangeoverError as error:
        # These say it better where the store is the reason. Who only fetches may have no right to write.
        probe_store(plant) if verb == "push" else check_readable(plant)
        raise ChangeoverError(_ROOM.sub(str(folder), str(error))) from error


_ROOM = re.compile(r"\S*/\.changeover/transfer-\w+\S*(?<![:;,.])")


@contextmanager
def _apart(plant: Path, folder: Path, targets: Sequence[str]) -> Iterator[Path]:
    """``folder``, with the records that ``targets`` name, in a DVC repository of its own with the plant's cache and store.

    DVC keeps its repository locked for a whole transfer, which may take longer than the other runs of the plant wait.
    """
    merged, plant = read_settings(plant), plant.resolve()
    state = plant / ".changeover"
    state.mkdir(exist_ok=True)
    _sweep(state)
    with tempfile.TemporaryDirectory(prefix="transfer-", dir=state) as name, _held(Path(name)):
        room = Path(name)
        (room / ".dvc").mkdir()
        (room / ".dvc" / "config").touch()
        ours = {
            "core": {**(merged.get("core") or {}), "no_scm": True, "site_cache_dir": str(room / ".dvc" / "site")},
            "cache": {"dir": str(plant / ".dvc" / "cache"), **(merged.get("cache") or {})},
            "remote": merged.get("remote") or {},
        }
        write_settings(room / ".dvc" / "config.local", ours)
        place = room / folder.resolve().relative_to(plant)
        place.mkdir(parents=True, exist_ok=True)
        for record in {*targets, *(_PIPELINE if "dvc.yaml" in targets else ())}:
            if (folder / record).is_file():
                shutil.copyfile(folder / record, place / record)
        yield place


@contextmanager
def _held(room: Path) -> Iterator[bool]:
    """Hold ``room`` as long as this process lives; False where another does."""
    handle = os.open(room, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(handle)


def _sweep(state: Path) -> None:
    """Remove what killed transfers left, the store's credentials among it."""
    for room in state.glob("transfer-*"):
        with suppress(FileNotFoundError):
            if time.time() - room.stat().st_mtime > _FRESH_SECONDS:
                with _held(room) as ours:
                    if ours:
                        shutil.rmtree(room, ignore_errors=True)


_FRESH_SECONDS = 60
_PIPELINE = ("dvc.yaml", "dvc.lock", "params.yaml")
