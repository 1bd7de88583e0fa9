"""Take a folder of good images into a batch: every file is looked at, accepted ones are copied byte for byte.

First the whole source is read and judged, then room on the disk is checked, then accepted files are copied into
``.good-incoming``, which is renamed to ``good``; ``batch.yaml`` is written last. Whenever that is cut short, the next call
starts afresh and clears what was left: without ``batch.yaml`` there is no batch.
"""

import errno
import hashlib
import os
import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from data.batch import MIN_IMAGES, BatchFolder, BatchRecord, ImageRecord, Rejection, check_name, images_digest
from data.errors import BadBatch, BadImage, OutOfSpace
from data.groups import GROUPS_FILE, read_groups
from data.image import decode_image, read_bytes

ODD_SHARE = 0.10
"""Up to this share of images with another number of channels than the rest are left out; above it, the batch is refused."""
SPARE_BYTES = 64 * 2**20
INCOMING, OUTGOING = ".good-incoming", ".good-outgoing"


@dataclass(frozen=True)
class _Candidate:
    """An accepted file: where it is, what it is called in the source, and what was found out about it."""

    path: Path
    source_name: str
    extension: str
    sha256: str
    bytes: int
    width: int
    height: int
    channels: int


def ingest(
    source: Path, folder: BatchFolder, product: str, batch: str, on_progress: Callable[[int, int], None] | None = None
) -> BatchRecord:
    """Copy the good images of ``source`` and its subfolders into ``folder.good`` and write ``batch.yaml``.

    Hidden files are ignored. Files that are not usable images, repeat another file byte for byte, or are links out of
    ``source`` are listed as rejections. An optional ``groups.csv`` names the physical part of each image. The same images
    again change nothing. ``on_progress`` gets (done, total), two steps a file.

    Raises BadName for a wrong name; BadBatch if the source cannot be read, gives fewer than 12 images, mixes grey and colour,
    or differs from what the batch already holds; OutOfSpace if the copy does not fit.
    """
    check_name("product", product)
    check_name("batch", batch)
    source = _checked_source(source, folder)
    report = on_progress or (lambda done, total: None)
    with _only_one(folder, f"{product}/{batch}"):
        _clear(folder)
        files, rejected = _walk(source)
        groups, unmatched = read_groups(source, {name for _, name in files})
        candidates = _judge(files, rejected, lambda done: report(done, 2 * len(files)))
        candidates = _one_kind(candidates, rejected)
        rejected.extend(unmatched)
        rejected.sort(key=lambda rejection: rejection.source_name)
        if len(candidates) < MIN_IMAGES:
            raise BadBatch(_too_few(source, len(candidates), len(files), rejected))
        images = _records(candidates, groups)
        record = BatchRecord(product=product, batch=batch, digest=images_digest(images), images=images, rejected=tuple(rejected))
        existing = folder.read_record() if folder.file("batch.yaml").exists() else None
        if existing is not None and existing.digest != record.digest:
            raise BadBatch(
                f"{source} holds other images or parts than batch {batch!r} has on record "
                f"({len(images)} now, {len(existing.images)} then); a batch never changes: give these images a new batch name"
            )
        if existing is None or not _complete(folder, existing):
            _copy(candidates, images, folder, lambda done: report(len(files) + done * len(files) // len(images), 2 * len(files)))
        if existing is None:
            folder.write_record(record)
        report(2 * len(files), 2 * len(files))
        return existing or record


def _checked_source(source: Path, folder: BatchFolder) -> Path:
    """The source's real path, if it is a folder that may be read and is apart from the batch's own folder."""
    if not source.exists():
        raise BadBatch(f"no folder {str(source)!r}; give the folder that holds the good images")
    if not source.is_dir():
        raise BadBatch(f"{str(source)!r} is a file, not a folder; give the folder that holds the good images")
    if not os.access(source, os.R_OK | os.X_OK):
        raise BadBatch(f"{str(source)!r} may not be read by this user; grant read permission or copy the images elsewhere")
    source, own = source.resolve(), folder.path.resolve()
    if source.is_relative_to(own) or own.is_relative_to(source):
        raise BadBatch(
            f"{str(source)!r} and the batch's folder {str(own)!r} contain each other; copy the images to a folder apart"
        )
    return source


@contextmanager
def _only_one(folder: BatchFolder, name: str) -> Iterator[None]:
    """One ingest at a time for one batch."""
    folder.work.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder.work / "ingest.lock", timeout=0):
            yield
    except Timeout as error:
        raise BadBatch(f"batch {name!r} is being ingested by another process; wait until that has ended") from error


def _clear(folder: BatchFolder) -> None:
    """Remove what an interrupted ingest left; bring ``good`` back if it was cut between two renames."""
    incoming, outgoing = folder.file(INCOMING), folder.file(OUTGOING)
    if outgoing.exists() and not folder.good.exists():
        outgoing.rename(folder.good)
    for leftover in (incoming, outgoing):
        if leftover.exists():
            shutil.rmtree(leftover)


def _walk(source: Path) -> tuple[list[tuple[Path, str]], list[Rejection]]:
    """Files below ``source`` in a fixed order, each with its name for the record, and what cannot even be tried."""
    files: list[tuple[Path, str]] = []
    rejected: list[Rejection] = []

    def refuse(path: Path, reason: str) -> None:
        rejected.append(Rejection(source_name=_shown(path.relative_to(source)), reason=reason))

    def unreadable(error: OSError) -> None:
        refuse(Path(error.filename), f"folder cannot be read ({error.strerror})")

    for root, folders, names in os.walk(source, onerror=unreadable):
        for name in folders:
            if not name.startswith(".") and Path(root, name).is_symlink():
                refuse(Path(root, name), "link to a folder; links are not followed")
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            path = Path(root, name)
            if name.startswith(".") or path == source / GROUPS_FILE:
                continue
            if path.is_symlink() and not path.exists():
                refuse(path, "broken link")
            elif path.is_symlink() and not path.resolve().is_relative_to(source):
                refuse(path, "link to a file outside the folder")
            else:
                files.append((path, _shown(path.relative_to(source))))
    return sorted(files, key=lambda file: file[1]), rejected


def _shown(path: Path) -> str:
    """A path as text that can be stored as UTF-8, whatever bytes the file system holds."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")


def _judge(files: Sequence[tuple[Path, str]], rejected: list[Rejection], report: Callable[[int], None]) -> list[_Candidate]:
    """Read and decode every file; refusals and repetitions are added to ``rejected``."""
    candidates: list[_Candidate] = []
    first: dict[str, str] = {}
    pool = ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1))
    try:
        for done, (verdict, (_, name)) in enumerate(zip(pool.map(_examine, files), files, strict=True), start=1):
            if isinstance(verdict, str):
                rejected.append(Rejection(source_name=name, reason=verdict))
            elif verdict.sha256 in first:
                rejected.append(Rejection(source_name=name, reason=f"the same image as {first[verdict.sha256]!r}, byte for byte"))
            else:
                first[verdict.sha256] = name
                candidates.append(verdict)
            report(done)
    finally:
        pool.shutdown(cancel_futures=True)
    return candidates


def _examine(file: tuple[Path, str]) -> _Candidate | str:
    """What one file is, or why it is refused."""
    path, name = file
    try:
        content = read_bytes(path)
        decoded = decode_image(content, path.name)
    except BadImage as error:
        return _shown(Path(str(error)))
    height, width, channels = decoded.pixels.shape
    return _Candidate(path, name, decoded.extension, hashlib.sha256(content).hexdigest(), len(content), width, height, channels)


def _one_kind(candidates: list[_Candidate], rejected: list[Rejection]) -> list[_Candidate]:
    """The images of the commoner number of channels; the rest is rejected, or the batch if the rest is more than 10 %."""
    kinds = Counter(candidate.channels for candidate in candidates)
    if len(kinds) < 2:
        return candidates
    (usual, many), (_, few) = kinds.most_common()
    word = {1: "grey", 3: "colour"}
    if few > ODD_SHARE * len(candidates):
        raise BadBatch(
            f"{kinds[1]} grey and {kinds[3]} colour images in one batch; a batch is one or the other (at most "
            f"{ODD_SHARE:.0%} are left out as strays): convert them to one kind or ingest two batches"
        )
    for candidate in candidates:
        if candidate.channels != usual:
            reason = f"{word[candidate.channels]} image among {many} {word[usual]} images; convert it to {word[usual]}"
            rejected.append(Rejection(source_name=candidate.source_name, reason=reason))
    return [candidate for candidate in candidates if candidate.channels == usual]


def _too_few(source: Path, accepted: int, tried: int, rejected: Sequence[Rejection]) -> str:
    """The message that a batch is too small, with the three commonest reasons."""
    # Names and numbers differ from file to file: without them reasons can be counted.
    reasons = Counter(
        re.sub(r"'[^']*'|\"[^\"]*\"|\d+(×\d+)?", "…", rejection.reason).removeprefix("… ") for rejection in rejected
    )
    listed = "; ".join(
        f"{count} × {reason}" for reason, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))[:3]
    )
    why = f" Rejected: {listed}." if listed else ""
    return (
        f"{accepted} usable images among {tried} files in {str(source)!r}; at least {MIN_IMAGES} are needed: "
        f"deliver more good images.{why}"
    )


def _records(candidates: Sequence[_Candidate], groups: dict[str, str]) -> tuple[ImageRecord, ...]:
    """What ``batch.yaml`` says about each image, sorted by stored name."""
    taken: dict[str, str] = {}
    for candidate in candidates:
        stem = f"{slug(Path(candidate.source_name).stem)}-"
        name = f"{stem}{candidate.sha256[:8]}.{candidate.extension}"
        if name in taken.values():  # eight equal digits can be forged
            name = f"{stem}{candidate.sha256}.{candidate.extension}"
        taken[candidate.source_name] = name
    images = [
        ImageRecord(
            name=taken[candidate.source_name],
            source_name=candidate.source_name,
            sha256=candidate.sha256,
            bytes=candidate.bytes,
            width=candidate.width,
            height=candidate.height,
            channels=candidate.channels,
            group=groups.get(candidate.source_name),
        )
        for candidate in candidates
    ]
    return tuple(sorted(images, key=lambda image: image.name))


def slug(stem: str) -> str:
    """``stem`` in [a-z0-9._-], at most 60 characters, with a letter or digit at both ends; ``image`` if nothing is left."""
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode().lower()
    plain = re.sub(r"\.{2,}", ".", re.sub(r"[^a-z0-9._-]+", "-", plain))
    return plain.strip("._-")[:60].rstrip("._-") or "image"


def _complete(folder: BatchFolder, record: BatchRecord) -> bool:
    """Whether every image of the record is in ``good`` with its size. Whether it is unchanged is asked by ``data.validate``."""
    paths = [(folder.good / image.name, image.bytes) for image in record.images]
    return all(path.is_file() and path.stat().st_size == size for path, size in paths)


def _copy(
    candidates: Sequence[_Candidate], images: Sequence[ImageRecord], folder: BatchFolder, report: Callable[[int], None]
) -> None:
    """Fill ``.good-incoming``, then put it in the place of ``good``."""
    needed = sum(image.bytes for image in images)
    free = shutil.disk_usage(folder.path).free
    if free < needed + SPARE_BYTES:
        raise OutOfSpace(
            f"{needed / 2**20:.0f} MiB of images and {SPARE_BYTES >> 20} MiB to spare do not fit into {free / 2**20:.0f} MiB "
            f"free at {str(folder.path)!r}; clear some space and run again"
        )
    incoming, outgoing = folder.file(INCOMING), folder.file(OUTGOING)
    paths = {candidate.source_name: candidate.path for candidate in candidates}
    try:
        incoming.mkdir()
        for done, image in enumerate(images, start=1):
            _copy_file(paths[image.source_name], incoming / image.name, image.sha256)
            report(done)
        _sync_folder(incoming)
        if folder.good.exists():
            folder.good.rename(outgoing)
        incoming.rename(folder.good)
        _sync_folder(folder.path)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise OutOfSpace(
                f"the disk of {str(folder.path)!r} filled up while copying; free some space and run again"
            ) from error
        raise BadBatch(
            f"images could not be copied to {str(folder.path)!r} ({error.strerror}); check permissions and disk"
        ) from error
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    shutil.rmtree(outgoing, ignore_errors=True)


def _copy_file(source: Path, target: Path, sha256: str) -> None:
    """Copy one file and flush it to the disk; BadBatch if it is no longer what was judged."""
    try:
        content = read_bytes(source)
    except BadImage as error:
        raise BadBatch(f"{error}; it could be read a moment ago: ingest again when nobody writes to the folder") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise BadBatch(f"{source.name!r} changed while it was being ingested; ingest again when nobody writes to the folder")
    with target.open("xb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_folder(path: Path) -> None:
    """Flush a folder's entries to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
