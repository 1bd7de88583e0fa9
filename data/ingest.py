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

from core.errors import BadBatch, BadImage, OutOfSpace
from core.files import file_digest
from data.batch import MIN_IMAGES, BatchFolder, BatchRecord, ImageRecord, Rejection, check_name, images_digest
from data.groups import groups_table, read_groups
from data.image import decode_image, read_bytes
from data.intact import Tail
from data.kind import Seen, channels_of
from data.settle import settled
from data.walk import File, shown, walk

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
    seen: Seen
    tail: Tail


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
        found = settled(lambda: walk(source))
        table = groups_table(source)
        files = [file for file in found.files if file.path != table]
        rejected = [Rejection(source_name=one.name, reason=one.reason) for one in found.skipped if not one.expected]
        groups, unmatched = read_groups(source, {file.name for file in files})
        candidates = _examine_all(files, rejected, lambda done: report(done, 2 * len(files)))
        existing = folder.read_record() if folder.file("batch.yaml").exists() else None
        paths = {file.name: file.path for file in files}
        if existing is not None and _same_delivery(existing, candidates, groups, paths):
            record = existing
        else:
            record = _judged(source, product, batch, candidates, groups, [*rejected, *unmatched], len(files))
        if existing is not None and existing.digest != record.digest:
            raise BadBatch(
                f"{source} holds other images or parts than batch {batch!r} has on record "
                f"({len(record.images)} now, {len(existing.images)} then); a batch never changes: give these images a new "
                "batch name"
            )
        if existing is None or not _complete(folder, existing):
            share = len(files) / len(record.images)
            _copy(paths, record.images, folder, lambda done: report(len(files) + int(done * share), 2 * len(files)))
        if existing is None:
            folder.write_record(record)
        report(2 * len(files), 2 * len(files))
        return record


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


def _examine_all(files: Sequence[File], rejected: list[Rejection], report: Callable[[int], None]) -> list[_Candidate]:
    """Read and decode every file; refusals and repetitions are added to ``rejected``."""
    candidates: list[_Candidate] = []
    first: dict[str, str] = {}
    pool = ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1))
    try:
        for done, (verdict, file) in enumerate(zip(pool.map(_examine, files), files, strict=True), start=1):
            if isinstance(verdict, str):
                rejected.append(Rejection(source_name=file.name, reason=verdict))
            elif verdict.sha256 in first:
                rejected.append(
                    Rejection(source_name=file.name, reason=f"the same image as {first[verdict.sha256]!r}, byte for byte")
                )
            else:
                first[verdict.sha256] = file.name
                candidates.append(verdict)
            report(done)
    finally:
        pool.shutdown(cancel_futures=True)
    return candidates


def _examine(file: File) -> _Candidate | str:
    """What one file is, or why it is refused."""
    try:
        content = read_bytes(file.path)
        decoded = decode_image(content, file.path.name)
    except BadImage as error:
        return shown(Path(str(error)))
    height, width, channels = decoded.pixels.shape
    return _Candidate(
        file.path, file.name, decoded.extension, hashlib.sha256(content).hexdigest(), len(content), width, height,
        Seen(3 if decoded.colour else 1, channels == 3), decoded.tail,
    )  # fmt: skip


def _same_delivery(
    existing: BatchRecord, candidates: Sequence[_Candidate], groups: dict[str, str], paths: dict[str, Path]
) -> bool:
    """Whether the source is the one that ``existing`` was made of, though today's rules might take other files of it.

    Every image on record is there unchanged, and whatever could be taken in addition was looked at and left then.
    """
    digests = {candidate.source_name: candidate.sha256 for candidate in candidates}
    # A table that named no image then may name them now, since spellings are told apart less strictly.
    ungrouped = any("groups" in rejection.source_name.lower() for rejection in existing.rejected)
    for image in existing.images:
        try:
            digest = digests.get(image.source_name) or file_digest(paths[image.source_name])
        except (KeyError, OSError):
            return False
        if image.sha256 != digest:
            return False
        if groups.get(image.source_name) != image.group and not (ungrouped and image.group is None):
            return False
    known = {image.source_name for image in existing.images} | {rejection.source_name for rejection in existing.rejected}
    return digests.keys() <= known


def _judged(
    source: Path, product: str, batch: str, candidates: list[_Candidate], groups: dict[str, str], rejected: list[Rejection],
    tried: int,
) -> BatchRecord:  # fmt: skip
    """The record of a batch of ``candidates``; BadBatch if they are too few or of two kinds."""
    candidates, channels = _one_kind(_finished(candidates, rejected), rejected)
    rejected.sort(key=lambda rejection: rejection.source_name)
    if len(candidates) < MIN_IMAGES:
        raise BadBatch(_too_few(source, len(candidates), tried, rejected))
    images = _records(candidates, groups, channels)
    return BatchRecord(product=product, batch=batch, digest=images_digest(images), images=images, rejected=tuple(rejected))


def _finished(candidates: list[_Candidate], rejected: list[Rejection]) -> list[_Candidate]:
    """Without images whose last rows were never written. Where most images end so, that is how the camera takes them."""
    cut = [candidate for candidate in candidates if candidate.tail.missing]
    if 2 * len(cut) > len(candidates):
        return candidates
    rejected.extend(Rejection(source_name=one.source_name, reason=f"{one.tail}; deliver it again") for one in cut)
    return [candidate for candidate in candidates if candidate not in cut]


def _one_kind(candidates: list[_Candidate], rejected: list[Rejection]) -> tuple[list[_Candidate], int]:
    """The images of the batch's kind, and its channels; strays are rejected."""
    channels, odd = channels_of([candidate.seen for candidate in candidates])
    for number in odd:
        reason = f"colour image among {len(candidates) - len(odd)} grey images; convert it to grey"
        rejected.append(Rejection(source_name=candidates[number].source_name, reason=reason))
    return [candidate for number, candidate in enumerate(candidates) if number not in odd], channels


def _too_few(source: Path, accepted: int, tried: int, rejected: Sequence[Rejection]) -> str:
    """The message that a batch is too small, with the three commonest reasons."""
    links = sum(rejection.reason.startswith("link to") for rejection in rejected)
    what = f"{tried} files and {links} links out of it" if links else f"{tried} files"
    way = "deliver the files themselves, as 'cp -rL' copies them" if links > accepted else "deliver more good images"
    # Names and numbers differ from file to file: without them reasons can be counted.
    reasons = Counter(
        re.sub(r"'[^']*'|\"[^\"]*\"|\d+(×\d+)?", "…", rejection.reason).removeprefix("… ") for rejection in rejected
    )
    listed = "; ".join(
        f"{count} × {reason}" for reason, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))[:3]
    )
    why = f" Rejected: {listed}." if listed else ""
    return f"{accepted} usable images among {what} in {str(source)!r}; at least {MIN_IMAGES} are needed: {way}.{why}"


def _records(candidates: Sequence[_Candidate], groups: dict[str, str], channels: int) -> tuple[ImageRecord, ...]:
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
            channels=channels,
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


def _copy(paths: dict[str, Path], images: Sequence[ImageRecord], folder: BatchFolder, report: Callable[[int], None]) -> None:
    """Fill ``.good-incoming``, then put it in the place of ``good``."""
    needed = sum(image.bytes for image in images)
    free = shutil.disk_usage(folder.path).free
    if free < needed + SPARE_BYTES:
        raise OutOfSpace(
            f"{needed / 2**20:.0f} MiB of images and {SPARE_BYTES >> 20} MiB to spare do not fit into {free / 2**20:.0f} MiB "
            f"free at {str(folder.path)!r}; clear some space and run again"
        )
    incoming, outgoing = folder.file(INCOMING), folder.file(OUTGOING)
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
