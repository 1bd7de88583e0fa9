"""A batch as it was at a commit, laid beside the plant: git gives the records, the DVC store the images."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from filelock import FileLock

from core.errors import BadBatch, ChangeoverError, StorageError
from core.files import file_digest
from data.batch import BatchFolder, images_digest
from data.dvc_settings import read_settings, write_settings
from data.lost import POINTERS, lost_of
from data.repository import dvc, git, try_git
from data.store import check_readable, fetch, place_of
from data.version import plant_lock
from data.yaml_file import write_yaml


@contextmanager
def checked_out(plant: Path, commit: str, product: str, batch: str) -> Iterator[BatchFolder]:
    """The folder of a batch at ``commit`` in a working tree of its own, with a DVC cache of its own; both go when the block ends.

    The plant's working tree and cache are not touched. One at a time in a plant: another waits. ChangeoverError where the
    commit or the batch is not there.
    """
    room = plant.resolve() / ".changeover" / "rebuild"
    room.mkdir(mode=0o700, parents=True, exist_ok=True)
    with FileLock(room.with_suffix(".lock")):
        _sweep(plant, room)
        if not _known(plant, commit):
            raise ChangeoverError(f"commit {commit[:40]} is not in the git history of {plant}; fetch it with 'git fetch' first")
        tree = Path(tempfile.mkdtemp(dir=room)) / "plant"
        try:
            with plant_lock(plant):
                git(plant, "-c", "core.hooksPath=/dev/null", "worktree", "add", "--quiet", "--detach", str(tree), commit)
            folder = BatchFolder.of(tree, product, batch)
            if not folder.file("batch.yaml").is_file():
                raise BadBatch(
                    f"commit {commit[:10]} holds no batch {product}/{batch}; the version's record does not fit this plant"
                )
            _adopt_store(plant, tree)
            yield folder
        finally:
            _sweep(plant, room)


def _sweep(plant: Path, room: Path) -> None:
    """Remove every working tree here: the lock says that nobody uses one."""
    for left in room.iterdir():
        shutil.rmtree(left, ignore_errors=True)
    with plant_lock(plant):
        git(plant, "worktree", "prune")


def _adopt_store(plant: Path, tree: Path) -> None:
    """Give ``tree`` the plant's DVC settings of today, credentials included: the store may have moved since the commit."""
    merged = read_settings(plant)
    if not (merged.get("core") or {}).get("remote"):
        raise ChangeoverError(f"{plant} has no DVC store to take images from; set storage.remote and run 'changeover init' on it")
    ours = {
        "core": {**merged["core"], "no_scm": True},
        "cache": {"dir": str(tree / ".dvc" / "cache")},
        "remote": merged["remote"],
    }
    write_settings(tree / ".dvc" / "config.local", ours)


def pull_images(folder: BatchFolder) -> None:
    """Fetch the images of a batch (and its library) from the store, and compare every one with ``batch.yaml``.

    ChangeoverError where the store has them no more; BadBatch where they are others than those on record.
    """
    record = folder.read_record()
    tree = folder.path.parents[2]
    pointers = [name for name in POINTERS if folder.file(name).is_file()]
    _pull(tree, folder.path, pointers, f"{record.product}/{record.batch}")
    if images_digest(record.images) != record.digest:
        raise BadBatch(
            f"batch.yaml of {record.product}/{record.batch} contradicts itself: its images give another digest than it says"
        )
    known = {image.name: image.sha256 for image in record.images}
    found = {file.name: file_digest(file) for file in folder.good.iterdir() if file.is_file()} if folder.good.is_dir() else {}
    wrong = sorted(name for name in known.keys() | found.keys() if known.get(name) != found.get(name))
    if wrong:
        raise BadBatch(
            f"{len(wrong)} images of {record.product}/{record.batch} in the store are not those on record, first {wrong[0]!r};"
            " restore the store from its backup"
        )


@contextmanager
def pulled(plant: Path, commit: str, product: str, batch: str, output: str) -> Iterator[Path]:
    """What a batch's stages left under ``output`` ("model") at ``commit``, from the store; it goes when the block ends.

    Neither the working tree nor the cache of the plant is touched, and no rebuild is waited for. ChangeoverError where the
    commit or the store has it no more.
    """
    name = f"{output} of {product}/{batch} at commit {commit[:10]}"
    try:
        stages = yaml.safe_load(file_at(plant, commit, product, batch, "dvc.lock") or "")["stages"]
        digest = next(out["md5"] for stage in stages.values() for out in stage["outs"] if out["path"] == output)
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise ChangeoverError(f"git has no record of {name}; fetch the plant's history with 'git fetch' first") from error
    if re.fullmatch(r"[0-9a-f]{32}(\.dir)?", str(digest)) is None:
        raise BadBatch(f"dvc.lock gives {name} the digest {str(digest)[:40]!r}, which is none; its record was changed")
    with tempfile.TemporaryDirectory(prefix="pulled-", dir=plant.resolve() / ".changeover") as place:
        room = Path(place)
        (room / ".dvc").mkdir()
        (room / ".dvc" / "config").touch()
        _adopt_store(plant, room)
        write_yaml(room / "output.dvc", {"outs": [{"md5": digest, "hash": "md5", "path": output}]})
        _pull(room, room, ["output.dvc"], f"{product}/{batch}")
        yield room / output


def _pull(tree: Path, folder: Path, pointers: list[str], name: str) -> None:
    """Fill the cache of ``tree``, which starts empty, and lay out what is in it. Names what the store has not."""
    fetch(tree, folder, *pointers)
    if gone := lost_of(tree, folder, pointers):
        check_readable(tree)
        raise StorageError(
            f"{place_of(tree)} has lost {gone[0].as_text()} of {name}; restore the store from its backup, or, where the plant's"
            " cache has it still, run the same batch again, which fills the store"
        )
    dvc(folder, "checkout", *pointers)


@dataclass(frozen=True)
class CommitFacts:
    """``made``: author and time of a commit, "" where it is not there. ``tag``: a tag with the start of its commit, or ""."""

    made: str
    tag: str


def commit_facts(plant: Path, commit: str, tag: str) -> CommitFacts:
    """What git knows of ``commit`` and of ``tag``."""
    made = _known(plant, commit) and try_git(plant, "show", "--no-patch", "--format=%an, %cI", commit)
    tagged = try_git(plant, "rev-parse", "--verify", "--quiet", f"refs/tags/{tag}^{{commit}}")
    return CommitFacts(made or "", f"{tag} at {tagged[:10]}" if tagged else "")


def file_at(plant: Path, commit: str, product: str, batch: str, name: str) -> str | None:
    """The text of a batch's file at ``commit``; None where it is not there."""
    place = BatchFolder.of(Path(), product, batch).file(name).as_posix()
    return try_git(plant, "show", f"{commit}:{place}") if _known(plant, commit) else None


def _known(plant: Path, commit: str) -> bool:
    """Whether git has this commit; a name from outside is never an option of git's."""
    return try_git(plant, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}") is not None


def lay_as_at(plant: Path, commit: str, folder: BatchFolder) -> None:
    """Lay the batch's records in the plant itself as they were at ``commit``. ChangeoverError where git fails."""
    with plant_lock(plant):
        git(
            plant,
            "-c",
            "core.hooksPath=/dev/null",
            "checkout",
            "--quiet",
            commit,
            "--",
            folder.path.relative_to(plant).as_posix(),
        )
