"""Rebuilding: a version is trained again from its record alone, and compared with what was registered."""

import contextlib
import hashlib
import json
import re
import shlex
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from core.errors import BadBatch, ChangeoverError
from data.batch import BatchFolder
from data.checkout import checked_out, pull_images
from data.split import of_today
from data.stage import read_params
from data.yaml_file import write_yaml
from flows.errors import PlantError
from flows.plant import Plant
from flows.records.comparison import Row, compare, exact, machine_differences, outcome
from flows.serving.locks import host_lock
from flows.stages import Report, run_alone
from flows.steps.decide import restore_champion
from flows.steps.fetch import fetch_metrics
from flows.steps.job import pipeline
from flows.steps.record_file import metrics_of
from flows.steps.set_up import START, TEACHER, WARM, restore_set_up
from models.evaluation.metrics_file import Metrics, Training
from models.settings import Replay
from registry.client.connection import Connection
from registry.client.record import record
from registry.client.teacher_card import CARD
from registry.client.versions import Version, version_of
from registry.errors import Refused, RegistryError


@dataclass(frozen=True)
class Rebuilt:
    """``outcome``: ``identical``, ``within tolerance`` or ``different``. ``explained``: differences of machine, packages and
    code; without one, no tolerance applies. ``seconds``: what the rebuild took."""

    product: str
    version: str
    batch: str
    commit: str
    outcome: str
    rows: tuple[Row, ...]
    explained: tuple[str, ...]
    remarks: tuple[str, ...]
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def rebuild(plant: Plant, connection: Connection, product: str, version: str | int, report: Report) -> Rebuilt:
    """Train ``version`` again from the commit, images, settings and step counts on its record; compare; put it on the trail.

    Works in a temporary working tree of the plant's git, with images from the DVC store. PlantError or BadBatch where the record
    does not suffice or contradicts itself, StageError where a stage fails; that it failed is on the trail as well.
    """
    begin = time.monotonic()
    report("reading the record", None)
    known = version_of(connection, product, version)
    try:
        done = _rebuilt(plant, connection, known, report, begin)
    except (ChangeoverError, OSError) as problem:
        with contextlib.suppress(RegistryError):  # the failure itself is what has to be said
            record(
                connection, "rebuild", known.product, version=known.version, digest=known.digest, subject="failed",
                reason=" ".join(str(problem).split())[:2000],
            )  # fmt: skip
        raise
    return _on_the_trail(connection, known, done)


def _rebuilt(plant: Plant, connection: Connection, known: Version, report: Report, begin: float) -> Rebuilt:
    recorded = fetch_metrics(connection, known)
    replay = _checked(known, recorded)
    with checked_out(plant.path, known.commit, known.product, known.batch) as folder:
        report("fetching images", None)
        pull_images(folder)
        if folder.read_record().digest != known.images:
            raise BadBatch(
                f"commit {known.commit[:10]} holds other images than version {known.version} was made from: digest"
                f" {folder.read_record().digest[:12]}, registered was {known.images[:12]}; one of both records was changed"
            )
        restore_champion(plant, folder, connection)
        _check_start(folder, recorded.training)
        restore_set_up(plant, folder, connection)
        before, of_0_1 = _facts(folder), "lock" in _read(folder.file("split.json"))
        with host_lock(lambda note: report(note or "starting", None)):
            _train_again(plant, folder, recorded, replay, report)
        rebuilt = metrics_of(folder, "the version cannot be rebuilt")
        after = _facts(folder, of_0_1)
    rows = [exact(what, value[:16], after[what][:16]) for what, value in before.items() if what != "record in git"]
    rows.insert(0, exact("record in git", recorded.model_digest[:16], before["record in git"][:16]))
    rows += compare(recorded, rebuilt)
    explained = machine_differences(recorded, rebuilt)
    return Rebuilt(
        known.product, known.version, known.batch, known.commit, outcome(rows, explained), tuple(rows), tuple(explained), (),
        round(time.monotonic() - begin, 1),
    )  # fmt: skip


def _checked(known: Version, recorded: Metrics) -> list[Replay]:
    """How the networks are trained again. The record comes from outside: all that a rebuild uses must be there, in its form."""
    name = f"version {known.version} of {known.product}"
    if re.fullmatch(r"[0-9a-f]{40}", known.commit) is None:
        raise PlantError(f"{name} has commit {known.commit[:50]!r} on record, which is none of git's; it cannot be rebuilt")
    if recorded.model_digest != known.digest:
        raise PlantError(f"metrics.json of {name} speaks of another model file than was registered; its record was changed")
    training = recorded.training
    try:
        replay = [Replay.model_validate(network, from_attributes=True) for network in training.networks]
        complete = bool(replay and training.weights_digest and recorded.scores.calibrate) and _threads(recorded) > 0
    except ValueError:
        complete = False
    if not complete:
        raise PlantError(
            f"metrics.json of {name} does not say how it was trained (an older Changeover wrote it); rebuild a newer one"
        )
    return replay


def _threads(recorded: Metrics) -> int:
    """Of evaluation, which fuses and calibrates with as many again: sums of several threads depend on their number."""
    return int(recorded.environment.get("threads", "1"))


def _check_start(folder: BatchFolder, training: Training) -> None:
    """Check that the version started from what the commit holds beside the batch. Older versions do not say."""
    teacher = (training.teacher or {}).get("digest")
    start = training.warm_start and training.warm_start.weights_digest
    for said, digest, laid, key in (
        ("teacher", teacher, Path(TEACHER, CARD), "digest"), ("warm_start", start, Path(WARM, START), "weights_digest")
    ):  # fmt: skip
        if digest is not None and _read(folder.path / laid).get(key) != digest:
            raise BadBatch(f"{laid} of the commit is not the {said} that was trained from; one of both records was changed")


def _train_again(plant: Plant, folder: BatchFolder, recorded: Metrics, replay: list[Replay], report: Report) -> None:
    """The stages, from the images on. Tuning is not repeated: its choice is on record, and it was made by the clock."""
    params = read_params(folder)
    params["train"] = {**(params.get("train") or {}), "replay": [one.model_dump(mode="json") for one in replay]}
    if recorded.outside is None and (params.get("evaluate") or {}).get("region"):
        params["evaluate"]["every_defect"] = True  # then those outside of the region counted
    write_yaml(folder.file("params.yaml"), params)
    if _read(folder.file("study") / "best.json").get("params") != recorded.training.chosen:
        raise BadBatch("study/best.json of the commit is not the choice that was trained with; one of both records was changed")
    logs = plant.logs / folder.read_record().product / folder.read_record().batch
    stages = yaml.safe_load(pipeline())["stages"]
    for stage in ("validate", "regenerate", "train", "evaluate"):
        module = shlex.split(stages[stage]["cmd"])[-1]
        threads = _threads(recorded) if stage == "evaluate" and "threads" in recorded.environment else None
        run_alone(
            folder,
            stage,
            module,
            logs / f"rebuild-{stage}.log",
            report,
            {"OMP_NUM_THREADS": str(threads)} if threads else {},
        )


def _facts(folder: BatchFolder, of_0_1: bool = False) -> dict[str, str]:
    """Digests of what stages before training make, as git records them or as the folder holds them now. ``of_0_1``: they are
    compared with those of 0.1, which called the subset ``test`` ``lock``."""
    split = json.dumps(of_today(_read(folder.file("split.json"))), sort_keys=True).encode()
    return {
        "record in git": str(_read(folder.file("report") / "metrics.json").get("model_digest")),
        "split": hashlib.sha256(split).hexdigest(),
        "exam defects": _defects(folder, of_0_1),
    }


def _read(file: Path) -> dict[str, Any]:
    """A record of the batch. BadBatch where the commit has none, or a damaged one."""
    try:
        found = (
            yaml.safe_load(file.read_text(encoding="utf-8"))
            if file.suffix == ".lock"
            else json.loads(file.read_text(encoding="utf-8"))
        )
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BadBatch(
            f"{file.name} of the commit is missing or damaged ({type(error).__name__}); the version cannot be rebuilt"
        ) from error
    if not isinstance(found, dict):
        raise BadBatch(f"{file.name} of the commit holds {type(found).__name__}, not an object; the version cannot be rebuilt")
    return found


def _defects(folder: BatchFolder, of_0_1: bool) -> str:
    """The digest of ``defects/`` in DVC's way: from the folder where it is there, else from ``dvc.lock``."""
    place = folder.file("defects")
    if not place.is_dir():
        lock = _read(folder.file("dvc.lock"))
        try:
            return str(next(out["md5"] for out in lock["stages"]["regenerate"]["outs"] if out["path"] == "defects"))
        except (KeyError, TypeError, StopIteration) as error:
            raise BadBatch("dvc.lock of the commit does not name its exam defects; the version cannot be rebuilt") from error
    files = sorted((file.relative_to(place).as_posix(), file) for file in place.rglob("*") if file.is_file())

    def digest(name: str, file: Path) -> str:
        content = file.read_bytes()
        if of_0_1 and name == "index.json":
            content = content.replace(b'"subset": "test"', b'"subset": "lock"')
        return hashlib.md5(content, usedforsecurity=False).hexdigest()

    listed = [{"md5": digest(name, file), "relpath": name} for name, file in files]
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def _on_the_trail(connection: Connection, known: Version, done: Rebuilt) -> Rebuilt:
    """The rebuild as an event: who reads the trail sees that it was tried, and what came of it."""
    differing = [row.what for row in done.rows if row.result != "same"]
    reason = f"differs in {', '.join(differing)}" if differing else "same weights, same model file, same verdicts"
    if done.explained:
        reason += f"; {'; '.join(done.explained)}"
    try:
        record(
            connection, "rebuild", known.product, version=known.version, digest=known.digest, subject=done.outcome,
            reason=reason[:2000],
        )  # fmt: skip
    except Refused as problem:  # a registry of before, or another user: the result stands all the same
        return replace(done, remarks=(f"not on the audit trail: {problem}",))
    return done
