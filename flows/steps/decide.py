"""The step decide: lay the champion beside the batch, and ask whether it still fits; if not, lay what training starts from."""

import json
import shutil
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from core.errors import ChangeoverError
from core.files import file_digest, replacing, write_json
from data.batch import BatchFolder, ImageRecord
from data.image import read_image
from flows.plant import Plant
from flows.serving.services import connect_as
from flows.steps.fetch import Fetched, fetch, fetch_metrics
from flows.steps.job import Job
from flows.steps.set_up import is_set_up, restore_set_up, set_up
from registry.client.connection import Connection
from registry.client.versions import champion as champion_of
from registry.client.versions import version_of


@dataclass(frozen=True)
class Decided:
    """``action`` is ``keep`` or ``retrain``; ``champion`` the version that was asked about, None where there was none.

    ``set_up``: in words, what training starts from.
    """

    action: str
    reason: str
    champion: str | None
    set_up: str = ""


def decide(job: Job) -> Decided:
    """Decide once for these images and this order; write ``champion/``, ``teacher/`` and ``warm/``, and last ``decision.json``.

    What is on record stands when there is another champion or a newer teacher later, because they are inputs of stages:
    otherwise a batch whose own model was promoted would be trained again.
    """
    folder = job.folder
    key = key_of(job)
    recorded = _recorded(folder, key)
    if recorded is not None:
        restore_champion(job.plant, folder)
        if recorded.action == "keep":
            return recorded
        if is_set_up(folder):
            restore_set_up(job.plant, folder)
            return recorded
        # Decided by an older Changeover, which set nothing up.
        start = set_up(job, connect_as(job.plant, "trainer"))
        decision = json.loads(folder.file("decision.json").read_text(encoding="utf-8"))
        write_json(folder.file("decision.json"), decision | {"set_up": start})
        return replace(recorded, set_up=start)
    connection = connect_as(job.plant, "trainer")
    version = champion_of(connection, job.product)
    champion = fetch(job.plant, connection, version) if version else None
    trained = _trained_otherwise(folder, key, job.training_digest())
    _lay(folder, champion)
    if trained is None:
        decision = _ask(job, champion)
        start = set_up(job, connection) if decision["action"] == "retrain" else ""
    else:
        decision, start = {"action": "retrain", "reason": OTHERWISE}, trained
        restore_set_up(job.plant, folder)
    number = champion.version.version if champion else None
    training = {"training": job.training_digest()}
    write_json(folder.file("decision.json"), key | training | {"champion": number, "set_up": start} | decision)
    return Decided(decision["action"], decision["reason"], number, start)


OTHERWISE = "this very batch was trained, and only what is done with the training is new"


def _trained_otherwise(folder: BatchFolder, key: dict[str, str], training: str) -> str | None:
    """What an earlier training of these images started from, in words, if this order trains the same: it starts from that again,
    whatever is newer by now. None if there was no such training."""
    try:
        found = json.loads(folder.file("decision.json").read_text(encoding="utf-8"))
        same = (found["action"], found["images"], found["training"]) == ("retrain", key["images"], training)
        return str(found["set_up"]) if same and is_set_up(folder) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not decided yet, or by an older Changeover


def key_of(job: Job) -> dict[str, str]:
    """What a decision, and so a training, is made for: these images, and this order."""
    return {"images": job.folder.read_record().digest, "params": job.params_digest()}


def _recorded(folder: BatchFolder, key: dict[str, str]) -> Decided | None:
    try:
        found = json.loads(folder.file("decision.json").read_text(encoding="utf-8"))
        laid = folder.file("champion") / "champion.json"
        if {name: found[name] for name in key} == key and laid.exists():
            return Decided(found["action"], found["reason"], found["champion"], str(found.get("set_up", "")))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not decided yet, or written by hand
    return None


def _ask(job: Job, champion: Fetched | None) -> dict[str, Any]:
    if champion is None:
        return {"action": "retrain", "reason": "the product has no champion yet"}
    number = champion.version.version
    if champion.version.batch == job.batch:
        return {
            "action": "retrain",
            "reason": f"champion {number} comes from this very batch, which is trained with other settings",
        }
    from models.evaluation.decide import decide as compare
    from models.evaluation.metrics_file import judged
    from models.exported import ExportedInspector

    metrics = fetch_metrics(connect_as(job.plant, "trainer"), champion.version)
    scores = judged(metrics.scores.calibrate)
    if not scores:
        return {"action": "retrain", "reason": f"champion {number} has no calibration scores on record to compare with"}
    channels = job.folder.channels()
    images = [partial(read_image, job.folder.good / image.name, channels) for image in unseen(job, champion.version.batch)]
    return compare(ExportedInspector(champion.path), scores, metrics.overkill_target, images).as_dict()


def unseen(job: Job, batch: str) -> list[ImageRecord]:
    """The images of the job's batch that a champion of ``batch`` was not trained on. Training images say nothing about drift: a
    memory bank knows them by heart. All of them where none would be left, or ``batch`` is not in this plant any more."""
    images = list(job.folder.read_record().images)
    try:
        before = job.plant.batch(job.product, batch)
        train = set(json.loads(before.file("split.json").read_text(encoding="utf-8"))["train"])
        trained_on = {image.sha256 for image in before.read_record().images if image.name in train}
    except (ChangeoverError, OSError, ValueError, KeyError, TypeError):
        return images
    return [image for image in images if image.sha256 not in trained_on] or images


def _lay(folder: BatchFolder, champion: Fetched | None) -> None:
    """Lay the champion beside the batch: an input of evaluate, which compares with it on the same images."""
    target = folder.file("champion")
    target.mkdir(parents=True, exist_ok=True)
    if champion is None:
        (target / "model.onnx").unlink(missing_ok=True)
        write_json(target / "champion.json", {"version": None})
        return
    version = champion.version
    _copy(champion, folder)
    card = {"version": version.version, "batch": version.batch, "digest": version.digest, "threshold": version.threshold}
    write_json(target / "champion.json", card)


def restore_champion(plant: Plant, folder: BatchFolder, connection: Connection | None = None) -> None:
    """Fetch the model file of the champion on record again where it is missing: git leaves it out of a clone."""
    card = json.loads((folder.file("champion") / "champion.json").read_text(encoding="utf-8"))
    if card["version"] is None:
        return
    model = folder.file("champion") / "model.onnx"
    if not model.exists() or file_digest(model) != card["digest"]:
        connection = connection or connect_as(plant, "trainer")
        product = folder.read_record().product
        _copy(fetch(plant, connection, version_of(connection, product, card["version"])), folder)


def _copy(champion: Fetched, folder: BatchFolder) -> None:
    with replacing(folder.file("champion") / "model.onnx") as temporary:
        shutil.copyfile(champion.path, temporary)
