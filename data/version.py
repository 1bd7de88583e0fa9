"""Images into DVC, records into git: who writes does so under one lock, and commits nobody else's work."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from core.errors import BadBatch, ChangeoverError
from data.batch import LIBRARY, BatchFolder, check_name
from data.repository import dvc, git, try_git
from data.store import push

LOCK_SECONDS = 600
IMAGE_FILES = ("batch.yaml", "good.dvc", "library.dvc", ".gitignore")
"""What fixes a batch's images in git; other records follow with ``commit_files``."""


@contextmanager
def plant_lock(plant: Path) -> Iterator[None]:
    """The one lock for git and DVC writes in a plant; waits up to ten minutes, then ChangeoverError. May be nested."""
    path = plant.resolve() / ".changeover" / "git.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path, timeout=LOCK_SECONDS, is_singleton=True):
            yield
    except Timeout as error:
        raise ChangeoverError(
            f"{path} has been held for {LOCK_SECONDS} s by another process; wait until its run has ended, or end that run"
        ) from error


def version_batch(plant: Path, folder: BatchFolder) -> str:
    """Put the batch's images into DVC (and its remote, if one is configured), commit, tag ``<product>/<batch>``.

    Returns the commit that holds the images, which is the tagged one when nothing has changed since. BadBatch if the tag
    stands for other images; ChangeoverError if git or DVC fail.
    """
    record = folder.read_record()
    tag = f"{check_name('product', record.product)}/{check_name('batch', record.batch)}"
    stored = [name for name in ("good", LIBRARY) if folder.file(name).is_dir()]
    paths = [folder.file(name) for name in IMAGE_FILES if name != "library.dvc" or LIBRARY in stored]
    with plant_lock(plant):
        _check_plant(plant)
        dvc(folder.path, "add", *stored)  # without --quiet, which swallows the reason of a failure
        _tagged(plant, folder, tag, stored)
    # Of a batch that has its tag too: a store that was lost is filled again. Without the lock, since it may take longer than the
    # runs of other products wait; before the tag, which so stands for images that the store has.
    push(plant, folder.path, *(f"{name}.dvc" for name in stored))
    with plant_lock(plant):
        tagged = _tagged(plant, folder, tag, stored)
        if tagged is not None:
            return tagged
        commit = _commit(plant, paths, f"Add {len(record.images)} images of {tag}")
        message = f"{len(record.images)} good images, digest {record.digest}"
        git(plant, *_identity(plant), "tag", "--annotate", "--message", message, tag, commit)
        return commit


def _tagged(plant: Path, folder: BatchFolder, tag: str, stored: Sequence[str]) -> str | None:
    """The commit that ``tag`` stands for, None where there is none. BadBatch if it holds other images than the folder."""
    tagged = try_git(plant, "rev-parse", "--verify", "--quiet", f"refs/tags/{tag}^{{commit}}")
    if tagged is None:
        return None
    for path, read in ((folder.file("batch.yaml"), _recorded), *((folder.file(f"{name}.dvc"), _stored) for name in stored)):
        then = try_git(plant, "show", f"{tagged}:{_inside(plant, path)}") or ""
        if read(then) != read(path.read_text(encoding="utf-8")):
            raise BadBatch(
                f"tag {tag} stands for other images than are in {folder.path} ({path.name} differs from commit "
                f"{tagged[:10]}); a batch never changes: use a new batch name"
            )
    return tagged


def _recorded(batch_yaml: str) -> Any:
    """The digest in a ``batch.yaml``."""
    return (yaml.safe_load(batch_yaml) or {}).get("digest")


def _stored(good_dvc: str) -> Any:
    """The hash of the folder in a ``good.dvc``; its other fields depend on DVC's version."""
    return [out.get("md5") for out in (yaml.safe_load(good_dvc) or {}).get("outs", [])]


def commit_files(plant: Path, paths: Sequence[Path], message: str) -> str:
    """Commit these files alone, whatever else is staged; returns the new commit, or the current one if nothing has changed.

    A path that no longer exists is committed as removed. ChangeoverError if a path is outside the plant or git fails.
    """
    with plant_lock(plant):
        _check_plant(plant)
        return _commit(plant, paths, message)


def plant_commit(plant: Path) -> str:
    """The plant's current commit, 40 hexadecimal digits; ChangeoverError if there is none."""
    commit = try_git(plant, "rev-parse", "--verify", "--quiet", "HEAD")
    if commit is None:
        raise ChangeoverError(f"{plant} has no git commit yet; prepare it with 'changeover init'")
    return commit


def _check_plant(plant: Path) -> None:
    """A plant is the root of a git repository with DVC in it."""
    root = try_git(plant, "rev-parse", "--show-toplevel")
    if root is None or Path(root).resolve() != plant.resolve() or not (plant / ".dvc").is_dir():
        raise ChangeoverError(f"{plant} is not the root of a git and DVC repository; prepare it with 'changeover init'")


def _commit(plant: Path, paths: Sequence[Path], message: str) -> str:
    """Commit the changes of ``paths`` and of nothing else."""
    names = [_inside(plant, path) for path in paths]
    if names:
        git(plant, "add", "--", *names)
    if names and git(plant, "status", "--porcelain", "--", *names):
        git(plant, *_identity(plant), "commit", "--quiet", "--no-verify", "--message", message, "--only", "--", *names)
    return plant_commit(plant)


def _inside(plant: Path, path: Path) -> str:
    """The path as git names it."""
    try:
        return path.resolve().relative_to(plant.resolve()).as_posix()
    except ValueError as error:
        raise ChangeoverError(f"{path} is outside the plant {plant}; commit files of the plant only") from error


def _identity(plant: Path) -> list[str]:
    """Options that give commits an author where the machine has none."""
    options: list[str] = []
    for key, value in (("name", "changeover"), ("email", "changeover@localhost")):
        if try_git(plant, "config", "--get", f"user.{key}") is None:
            options += ["-c", f"user.{key}={value}"]
    return options
