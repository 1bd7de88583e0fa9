"""Teachers of a plant: which its changeovers use, and how weights from outside become a registered teacher."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from core.errors import BadSettings, ChangeoverError
from core.files import file_digest
from flows.named_teacher import check_teacher_name
from flows.plant import Plant
from flows.serving.services import connect_as
from flows.stages import Report
from flows.teachers.hub import download, hub_weights
from models.teachers.imagenet import DEFAULT, IMAGENET, PACKAGES, write_imagenet
from registry.client.connection import Connection
from registry.client.teachers import TeacherVersion, register_teacher, teachers

LONGEST = 1000
"""Characters of a note on origin or licence."""


def used_teacher(plant: Plant, known: Sequence[TeacherVersion]) -> TeacherVersion | None:
    """The one of ``known`` (newest of a name first) that changeovers of ``plant`` use; None where they go without one."""
    named = plant.config.named_teacher
    if named is None:
        return None
    wanted = next((one for one in known if one.name == named.name and named.version in (None, one.version)), None)
    if wanted is None and named.version is None:
        return next((one for one in known if one.name == IMAGENET), None)
    return wanted


def import_teacher(
    plant: Plant, connection: Connection, file: Path, backbone: str | None, name: str, licence: str, report: Report
) -> TeacherVersion:
    """Register the weights of the feature network ``backbone`` in ``file``; None finds out by its tensors which it is. BadModel
    or BadSettings where they are not."""
    check_teacher_name(name)
    licence = check_licence(licence)
    from models.teachers.teacher_file import import_features

    report("reading the file", None)
    file = file.expanduser()
    backbone, weights = import_features(file, backbone)
    origin = f"file {printable(file.name)}, sha256 {file_digest(file)}"
    return _register(
        plant, connection, weights, report, name=name, backbone=backbone, source="imported", origin=origin, licence=licence
    )


def pull_teacher(
    plant: Plant, connection: Connection, hub_name: str, name: str | None, licence: str | None, report: Report
) -> TeacherVersion:
    """Fetch the pretrained weights that ``hub_name`` names, and register them: those of an installed package
    (``models.teachers.imagenet``), else of a hub (see ``hub_weights``), for which alone the network is asked.

    BadSettings for names that are not known and where no licence is, HubError where nothing could be fetched.
    """
    from models.teachers.feature_network import feature_network
    from models.teachers.teacher_file import LEVELS, import_features, teacher_name

    name = check_teacher_name(name or teacher_name(hub_name))
    report("looking the name up", None)
    if hub_name in PACKAGES:
        report("reading and registering the weights", None)
        return register_packaged(plant, connection, hub_name, name)
    weights = hub_weights(hub_name)
    if licence is None and weights.licence is None:
        raise BadSettings(
            f"the licence of {hub_name!r} is not on record in the installed libraries; read it at {weights.page} and give it "
            "with --licence TEXT"
        )
    noted = check_licence(licence if licence is not None else str(weights.licence))
    feature_network("teacher", weights.backbone, 3, LEVELS)  # before anything is fetched for a network that does not fit
    with tempfile.TemporaryDirectory(dir=_room(plant)) as scratch:
        file = Path(scratch) / weights.file
        fetched = download(weights.address, file, report)
        report("reading the weights", None)
        state = import_features(file, weights.backbone)[1]
    commit = f", commit {fetched.commit}" if fetched.commit else ""
    origin = f"{hub_name} from {weights.address}{commit}, sha256 {fetched.digest}"
    return _register(
        plant, connection, state, report, name=name, backbone=weights.backbone, source="pulled", origin=origin, licence=noted
    )


def register_packaged(plant: Plant, connection: Connection, network: str = DEFAULT, name: str = IMAGENET) -> TeacherVersion:
    """Register the weights that an installed package has of ``network``, once. BadModel where it is not installed."""
    with tempfile.TemporaryDirectory(dir=_room(plant)) as scratch:
        write_imagenet(Path(scratch), network, name)
        return register_teacher(connection, Path(scratch))


def have_packaged(plant: Plant, log: Callable[[str], None]) -> None:
    """See that the plant has the teacher ``imagenet``, unless it goes without one; the servers have to be up. Where it cannot be
    had now, the first changeover tries again."""
    if plant.config.named_teacher is None:
        return
    try:
        connection = connect_as(plant, "trainer")
        if not any(teacher.name == IMAGENET for teacher in teachers(connection)):
            log(f"registering the teacher {IMAGENET}")
            register_packaged(plant, connection)
    except ChangeoverError as error:
        log(f"the teacher {IMAGENET} is not registered yet: {error}")


def check_licence(text: str) -> str:
    """``text`` in one line; BadSettings if it says nothing or too much."""
    line = printable(" ".join(text.split()))
    if not 1 <= len(line) <= LONGEST:
        raise BadSettings(
            f"--licence {line[:40]!r} has {len(line)} characters, but needs 1 to {LONGEST}; say in a line what the weights may "
            "be used for, such as 'Apache-2.0'"
        )
    return line


def printable(text: str) -> str:
    """Text from outside, without what a terminal takes for commands and what UTF-8 cannot hold."""
    return "".join(one if one.isprintable() else "?" for one in text)


def _register(
    plant: Plant, connection: Connection, weights: Any, report: Report, *, name: str, backbone: str, **card: str
) -> TeacherVersion:
    from models.teachers.teacher_file import write_teacher

    report("registering", None)
    with tempfile.TemporaryDirectory(dir=_room(plant)) as scratch:
        write_teacher(Path(scratch), weights, name=name, kind="features", settings={"backbone": backbone}, **card)
        return register_teacher(connection, Path(scratch))


def _room(plant: Plant) -> Path:
    """Where files lie while they are worked on: beside the plant's other files, not in a small /tmp."""
    room = plant.state / "incoming"
    room.mkdir(parents=True, exist_ok=True)
    return room
