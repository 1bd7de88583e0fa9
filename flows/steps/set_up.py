"""External set-up: what was prepared before a changeover is laid beside the batch: a teacher, and a champion to start from."""

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from core.errors import BadBatch, BadModel, ChangeoverError
from core.files import file_digest, replacing, write_json
from data.batch import BatchFolder
from data.checkout import pulled
from data.split import MIN_SUBSET, of_today
from data.version import commit_files, plant_lock
from flows.errors import PlantError
from flows.plant import Plant, ignore_large_files
from flows.serving.services import connect_as
from flows.steps.fetch import fetch_metrics
from flows.steps.job import Job
from flows.steps.record_file import read_object
from flows.steps.training_overlap import training_overlap
from flows.teachers.teacher import register_packaged
from models.teachers.imagenet import IMAGENET
from registry.client.connection import Connection
from registry.client.teacher_card import CARD
from registry.client.teachers import WEIGHTS as FEATURES
from registry.client.teachers import TeacherVersion, download_teacher, teacher_of, teachers
from registry.client.versions import Version, champion, version_of
from registry.errors import NotFound
from registry.names import is_digest

TEACHER = "teacher"
WARM, START, WEIGHTS, TRAINING = "warm", "warm.json", "weights.pt", "training.json"


def set_up(job: Job, connection: Connection) -> str:
    """Lay ``teacher/`` and ``warm/`` beside the batch, inputs of tune and train; returns in words what there is.

    What does not exist is recorded as such: ``{"digest": null}``, ``{"version": null}``. It is an error only where it was pinned
    (``name@version``), or where a file is not the one on record.
    """
    place = job.plant.path
    with plant_lock(place):  # a plant of an older version would commit the large files
        if ignore_large_files(place):
            commit_files(place, [place / ".gitignore"], "Ignore the large files of a set-up")
    return "; ".join(filter(None, (_lay_teacher(job, connection), _lay_start(job, connection))))


def teacher_at_hand(plant: Plant, connection: Connection) -> tuple[TeacherVersion | None, str]:
    """The teacher that ``changeover.yaml`` names, None where there is none, and the same in words. NotFound where one is
    pinned (``name@version``) that is not on record."""
    named = plant.config.named_teacher
    if named is None:
        return None, "no teacher, as changeover.yaml says: detectors start from random features"
    try:
        return _in_words(teacher_of(connection, named.name, named.version))
    except NotFound:
        if named.version is not None:
            raise
    try:
        return _in_words(teacher_of(connection, IMAGENET, None))
    except NotFound:
        return None, f"neither teacher {named.name!r} nor {IMAGENET!r} on record: detectors start from random features"


def _in_words(teacher: TeacherVersion) -> tuple[TeacherVersion, str]:
    return teacher, f"teacher {teacher.name}, version {teacher.version} ({teacher.network}, {teacher.source})"


def is_set_up(folder: BatchFolder) -> bool:
    """Whether a batch has both; one that an older version laid out has neither."""
    return (folder.file(TEACHER) / CARD).exists() and (folder.file(WARM) / START).exists()


def restore_set_up(plant: Plant, folder: BatchFolder, connection: Connection | None = None) -> None:
    """Fetch the large files on record again where they are missing or changed: git leaves them out of a clone.

    PlantError, BadModel or a registry's error where they are no longer available.
    """
    digest = _pinned(folder.file(TEACHER) / CARD, "digest", "digest")
    features = folder.file(TEACHER) / FEATURES
    if digest is not None and not _is(features, digest):
        if not _is(_cache(plant, digest) / FEATURES, digest):
            connection = connection or connect_as(plant, "trainer")
            known = next((one for one in teachers(connection) if one.digest == digest), None)
            if known is None:
                raise PlantError(
                    f"the teacher with digest {digest[:12]}, which {folder.path} starts from, is neither in the registry nor in"
                    " the plant's cache; restore the registry from its backup, or import the same file again"
                )
            _fetch(plant, connection, known)
        _link(_cache(plant, digest) / FEATURES, features)
    digest = _pinned(folder.file(WARM) / START, "version", "weights_digest")
    if digest is not None and not _is(folder.file(WARM) / WEIGHTS, digest):
        start = read_object(folder.file(WARM) / START)
        connection = connection or connect_as(plant, "trainer")
        source = version_of(connection, str(start.get("product")), str(start["version"]))
        _lay_model(plant, source, digest, folder.file(WARM))


def _lay_teacher(job: Job, connection: Connection) -> str:
    teacher, words = teacher_at_hand(job.plant, connection)
    if teacher is None and job.plant.config.named_teacher is not None:
        with suppress(BadModel):  # its package is not installed
            teacher, words = _in_words(register_packaged(job.plant, connection))
    target = job.folder.file(TEACHER)
    if teacher is None:
        (target / FEATURES).unlink(missing_ok=True)
        write_json(target / CARD, {"digest": None})
        return words
    place = _fetch(job.plant, connection, teacher)
    _link(place / FEATURES, target / FEATURES)
    _copy(place / CARD, target / CARD)
    return words


def _fetch(plant: Plant, connection: Connection, teacher: TeacherVersion) -> Path:
    """The folder of both files in the plant's cache, which is asked first. Weights may be registered under several names."""
    if not is_digest(teacher.digest):
        raise PlantError(f"teacher {teacher.name} version {teacher.version} has no digest on record; register it again")
    place = _cache(plant, teacher.digest)
    if not _holds(place, teacher):
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetched-", dir=place.parent) as scratch:
            fresh = Path(scratch) / TEACHER
            download_teacher(connection, teacher, fresh)
            if not _holds(fresh, teacher):
                raise BadModel(
                    f"the files of teacher {teacher.name} version {teacher.version} are not those on record (digest"
                    f" {teacher.digest[:12]}): they were exchanged; do not use them, register the teacher again"
                )
            _copy(fresh / FEATURES, place / FEATURES)
            _copy(fresh / CARD, place / CARD)
    return place


def _cache(plant: Plant, digest: str) -> Path:
    return plant.state / "teachers" / "cache" / digest


def _holds(place: Path, teacher: TeacherVersion) -> bool:
    return _is(place / CARD, teacher.card) and _is(place / FEATURES, teacher.digest)


def _lay_start(job: Job, connection: Connection) -> str:
    product, target = job.order.warm_start, job.folder.file(WARM)
    source = champion(connection, product) if product else None
    digest = _weights_digest(connection, source) if source else None
    hindrance = ""
    if source is not None and digest is not None and (source.product, source.batch) != (job.product, job.batch):
        known, hindrance = _overlap(job, connection, source)
        if not hindrance:
            _lay_model(job.plant, source, digest, target)
            start = {"product": source.product, "version": source.version, "weights_digest": digest}
            write_json(target / START, start | ({"learned": known} if known else {}))
            words = f"starts warm from version {source.version} of {source.product}"
            return f"{words}, which has learned {len(known)} images that neither calibrate nor test" if known else words
    for name in (WEIGHTS, TRAINING):
        (target / name).unlink(missing_ok=True)
    write_json(target / START, {"version": None})
    if product is None:
        return ""
    if source is None:
        return f"no warm start: {product} has no champion yet"
    if hindrance:
        return f"no warm start: {hindrance}"
    if digest is None:
        return f"no warm start: champion {source.version} of {product} has no digest of its weights on record"
    # With another seed the split is another: it may have learned from images that are to measure now.
    return f"no warm start: champion {source.version} comes from this very batch, and may have seen what measures it"


def _overlap(job: Job, connection: Connection, source: Version) -> tuple[list[str], str]:
    """The images of the batch that must not measure a model that starts from ``source``, or why it cannot start from it."""
    name = f"champion {source.version} of {source.product}"
    try:
        found = training_overlap(job.plant, connection, source, job.folder)
    except ChangeoverError as problem:
        return [], f"it cannot be told which of these images {name} has learned ({problem})"
    for subset, images in found.items():
        total = len(of_today(read_object(job.folder.file("split.json")))[subset]) if images else 0
        if images and total - len(images) < max(MIN_SUBSET, total / 2):
            # Deliveries overlap: what is left would promise next to nothing.
            return [], f"{name} has learned {len(images)} of the {total} images that are to {_USES[subset]}; deliver new ones"
    return sorted({image for images in found.values() for image in images}), ""


_USES = {"calibrate": "calibrate the threshold", "test": "test the model"}


def _weights_digest(connection: Connection, version: Version) -> str | None:
    """The digest of a version's ``weights.pt``; None in the record of an older Changeover."""
    digest = fetch_metrics(connection, version).training.weights_digest
    return digest if is_digest(digest) else None


def _lay_model(plant: Plant, version: Version, digest: str, target: Path) -> None:
    """What a version's training left: from its batch's folder where it still lies there, else from the store."""
    try:
        _take(plant.batch(version.product, version.batch).file("model"), digest, target)
    except BadModel:
        with pulled(plant.path, version.commit, version.product, version.batch, "model") as stored:
            _take(stored, digest, target)


def _take(source: Path, digest: str, target: Path) -> None:
    try:
        if read_object(source / TRAINING).get("weights_digest") != digest:
            raise BadModel(f"{source / TRAINING} speaks of other weights than {digest[:12]}, which are on record")
        _copy(source / TRAINING, target / TRAINING)
        with replacing(target / WEIGHTS) as temporary:
            shutil.copyfile(source / WEIGHTS, temporary)
            if not _is(temporary, digest):
                raise BadModel(
                    f"{WEIGHTS} of {source.parent.name} are not those on record (digest {digest[:12]}): they were exchanged;"
                    " restore the store from its backup, or start from another champion"
                )
    except (OSError, BadBatch) as error:
        raise BadModel(f"{source} is incomplete ({error}); restore the store from its backup") from error


def _pinned(record: Path, key: str, digest: str) -> str | None:
    """The digest that a laid record pins; None where it says that there is nothing, or is not there at all."""
    if not record.exists():
        return None
    found = read_object(record)
    if found.get(key, "") is None:
        return None
    if not isinstance(found.get(digest), str) or not is_digest(found[digest]):
        raise BadBatch(f"{record} gives no digest to check by; restore it with 'git checkout -- {record.name}'")
    return str(found[digest])


def _is(file: Path, digest: str) -> bool:
    return file.is_file() and file_digest(file) == digest


def _copy(source: Path, target: Path) -> None:
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)


def _link(source: Path, target: Path) -> None:
    """``source`` under another name; a copy where the file system has no hard links."""
    if target.exists() and target.samefile(source):
        return
    with replacing(target) as temporary:
        temporary.unlink()
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
