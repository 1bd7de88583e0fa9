"""Training a teacher on the plant's own good images, or distilling one into another, while the line still runs."""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from core.errors import BadSettings, ChangeoverError
from core.files import file_digest, write_json
from data.batch import BatchFolder
from data.stage import read_params
from data.yaml_file import write_yaml
from flows.config import TeacherMethod
from flows.errors import NoImages
from flows.named_teacher import check_teacher_name
from flows.plant import Plant
from flows.serving.locks import host_lock, teacher_lock
from flows.serving.processes import ProcessMark, end_group
from flows.stages import Report, run_alone
from flows.teachers.images import TeacherImages, teacher_images
from registry.client.connection import Connection
from registry.client.teacher_card import CARD
from registry.client.teachers import WEIGHTS, TeacherVersion, download_teacher, register_teacher

BACKBONE = "resnet10t"
Into = Literal["features", "patches"]
STAGE, MODULE = "train_teacher", "models.train_teacher"
OWN_IMAGES = "the plant's own: trained here on its images"


@dataclass(frozen=True)
class TeacherOrder:
    """What to train. ``method``: how it learns; files, settings and the command line call it ``recipe``. ``seconds``: the budget.
    ``parent``: the teacher to distil; then ``into`` says what it becomes."""

    name: str
    method: TeacherMethod | Literal["distilled"]
    seconds: float
    seed: int = 1
    backbone: str = BACKBONE
    into: Into = "features"
    parent: TeacherVersion | None = None

    def __post_init__(self) -> None:
        check_teacher_name(self.name)
        if self.method not in (*get_args(TeacherMethod), "distilled"):
            raise BadSettings(f"recipe {self.method[:40]!r} is not one of {', '.join(get_args(TeacherMethod))}")
        if self.into not in get_args(Into):
            raise BadSettings(f"--into {self.into[:40]!r} is not one of {', '.join(get_args(Into))}")
        if not 0 <= self.seed < 2**31:
            raise BadSettings(f"seed {self.seed} is not between 0 and 2147483647; leave --seed away for 1")
        if self.parent is not None and self.parent.name == self.name:
            raise BadSettings(f"teacher {self.name!r} cannot be distilled into itself; give the new one a name of its own")


@dataclass(frozen=True)
class Trained:
    """``images``: what it learned from. ``anew``: whether it was trained now, or made before of the same."""

    teacher: TeacherVersion
    images: TeacherImages
    anew: bool


def train_teacher(plant: Plant, connection: Connection, order: TeacherOrder, products: list[str], report: Report) -> Trained:
    """Train a teacher as ``order`` says and register it. The same images, order and code give the version made before.

    A run that was killed may be started again. NoImages where no batch of ``products`` passed validation, StageError where
    training fails.
    """
    report("looking for good images", None)
    images = teacher_images(plant, products, report)
    if not images.count:
        why = f" ({images.notes[0]})" if images.notes else ""
        raise NoImages(f"no batch of {', '.join(products[:8]) or 'the plant'} passed validation{why}; run a changeover first")
    params = _params(order, images)
    folder = BatchFolder(plant.state / "teachers" / order.name)
    with teacher_lock(plant, order.name, lambda note: report(note, None)):
        anew = not _made(folder, params)
        if anew:
            _lay_out(connection, folder, params, order.parent)
            with host_lock(lambda note: report(note, None)):
                log = plant.logs / "teachers" / f"{order.name}.log"
                run_alone(folder, STAGE, MODULE, log, report, started=lambda mark: _remember(folder, mark))
        report("registering", None)
        return Trained(register_teacher(connection, folder.file("teacher")), images, anew)


def _params(order: TeacherOrder, images: TeacherImages) -> dict[str, Any]:
    """``params.yaml`` of the training; ``made.inputs`` is the digest of all that decides what comes out."""
    from models.training.machine import code_digest

    parent = order.parent
    teacher: dict[str, Any] = {"name": order.name, "recipe": order.method, "backbone": order.backbone}
    teacher |= ({"into": order.into} if parent else {}) | {"seconds": order.seconds}
    record = images.record()
    seen = {one.tag: one.digest for one in images.batches}
    deciding = {"seed": order.seed, "teacher": teacher, "parent": parent and parent.digest, "seen": seen, "code": code_digest()}
    made: dict[str, Any] = {
        "inputs": hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest(),
        "products": record,
    }
    origin, licence = images.words, OWN_IMAGES
    if parent:
        made["parent_version"] = parent.version  # the parent's card is added by the training
        origin = f"distilled from {parent.name} version {parent.version} ({parent.digest[:12]}) on {images.words}"
        licence = parent.licence
    return {
        "seed": order.seed, "teacher": teacher, "products": images.products, "origin": origin[:1000], "licence": licence,
        "made": made,
    }  # fmt: skip


def _made(folder: BatchFolder, params: dict[str, Any]) -> bool:
    """Whether the working folder already holds the teacher that ``params`` would give."""
    place = folder.file("teacher")
    try:
        card = json.loads((place / CARD).read_text(encoding="utf-8"))
        whole = card["digest"] == file_digest(place / WEIGHTS)
        return whole and bool(card["made"]["inputs"] == params["made"]["inputs"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _lay_out(connection: Connection, folder: BatchFolder, params: dict[str, Any], parent: TeacherVersion | None) -> None:
    """A working folder for ``params``: empty, unless a run of the same was killed in it."""
    _end_orphan(folder)
    try:
        same = read_params(folder).get("made", {}).get("inputs") == params["made"]["inputs"]
    except (ChangeoverError, AttributeError):
        same = False
    if not same and folder.path.exists():
        shutil.rmtree(folder.path)
    folder.work.mkdir(parents=True, exist_ok=True)
    (folder.work / "progress.json").unlink(missing_ok=True)  # else the killed run's would be shown as ours
    if parent is not None:
        download_teacher(connection, parent, folder.file("parent"))
    write_yaml(folder.file("params.yaml"), params)


def _mark_file(folder: BatchFolder) -> Path:
    return folder.work / "process.json"


def _remember(folder: BatchFolder, mark: ProcessMark) -> None:
    write_json(_mark_file(folder), {"pid": mark.pid, "started": mark.started})


def _end_orphan(folder: BatchFolder) -> None:
    """End the training that a killed run left behind in ``folder``; nobody else trains there while the lock is held."""
    try:
        found = json.loads(_mark_file(folder).read_text(encoding="utf-8"))
        mark = ProcessMark(int(found["pid"]), float(found["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return
    end_group(mark)
