"""Training of a teacher on the good images of all products, ahead of any changeover (``python -m models.train_teacher``)."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from core.errors import BadBatch, BadSettings
from data.batch import BatchFolder
from data.defects.recipe import Recipe
from data.defects.scale import measure_scale
from data.image import read_image
from data.progress import Progress
from data.section import Section
from data.stage import read_params, read_settings, run_stage
from models.detectors.unet3plus import UNet3Plus
from models.inspection.preprocess import at_working_scale, working_scale
from models.teachers.distil import Distillation, PatchDistillation
from models.teachers.feature_extractor import COLOURS
from models.teachers.self_supervised import SelfSupervised
from models.teachers.teacher_file import TeacherCard, TeacherFile, read_teacher, write_teacher
from models.trainable import Trainable
from models.training.budget import Plan
from models.training.crops import CropPlan
from models.training.fit import Make, Report, Spec, fit
from models.training.machine import environment, packages
from models.training.training_log import TrainingLog

Image = NDArray[np.uint8]
TeacherMethod = Literal["self-supervised", "pseudo-defects", "distilled"]
MAX_PIXELS = 700_000
SIDE = 128


class TeacherSettings(Section):
    """Section ``teacher`` of ``params.yaml``: what to make.

    ``method``: how the teacher learns; its key in files is ``recipe``, as 0.1 had it, which is no recipe of pseudo-defects.
    ``into``: what a distilled teacher is, ``features`` (of ``backbone``) or ``patches``. ``steps``: exactly as many, instead of
    as many as fit into ``seconds``.
    """

    name: str
    method: TeacherMethod = Field("self-supervised", alias="recipe")
    backbone: str = "resnet10t"
    into: Literal["features", "patches"] = "features"
    seconds: float = Field(1800.0, gt=0)
    steps: int | None = Field(None, gt=0)


@dataclass(frozen=True)
class Taught:
    """Weights of a new teacher, what its card says of it, and the log of its training."""

    weights: Mapping[str, Tensor]
    kind: Literal["features", "patches"]
    settings: dict[str, Any]
    log: TrainingLog


def train_teacher(
    products: Mapping[str, Sequence[Image]],
    order: TeacherSettings,
    seed: int,
    parent: TeacherFile | None = None,
    report: Report | None = None,
    checkpoint: Path | None = None,
) -> Taught:
    """Train on good images (H, W, C) of each product, which take turns; ``checkpoint``: file to go on from where a training of
    the same order and images was killed.

    ``self-supervised``: ``models.teachers.self_supervised``. ``pseudo-defects``: a UNet 3+ learns to segment them, and its
    encoder is the teacher. ``distilled``: ``models.teachers.distil``, from ``parent``. BadSettings where method and parent do not
    fit; BadBatch without images."""
    if not any(products.values()):
        raise BadBatch("there are no good images to train a teacher on; run a changeover of one product first")
    if (order.method == "distilled") != (parent is not None):
        raise BadSettings(f"teacher recipe {order.method!r} {'takes no' if parent else 'needs a'} parent; see 'teachers distil'")
    if parent is not None and parent.card.kind != "features":
        raise BadSettings(
            f"teacher {parent.card.name!r} is made of patch networks, from which nothing is distilled; take another"
        )
    images, shares = _at_work(products)
    make, rate = _learner(order, parent)
    plan = Plan(order.seconds, order.steps)
    spec = Spec(schedule="linear", learning_rate=rate, side=SIDE, hard_negatives=False)
    crops = CropPlan(Recipe(), shares[0][1], SIDE, 0, "linear", seed, products=tuple(shares))

    def begin(network: Trainable) -> None:
        if parent is not None and isinstance(network, Distillation | PatchDistillation):
            network.load_parent(parent)

    trained: Any
    trained, log = fit(
        images,
        crops,
        spec,
        plan,
        checkpoint=checkpoint,
        key=_key(order, seed, parent, images),
        report=report,
        begin=begin,
        make=make,
    )
    if order.method == "self-supervised":
        return Taught(trained.network.state_dict(), "features", {"backbone": order.backbone}, log)
    if order.method == "pseudo-defects":
        return Taught(trained.encoder.network.model.state_dict(), "features", {"backbone": order.backbone}, log)
    if order.into == "features":
        return Taught(trained.weights(), "features", {"backbone": order.backbone}, log)
    return Taught(trained.weights(), "patches", dict(PATCHES), log)


PATCHES: dict[str, Any] = {"sides": [17, 33, 65], "width": 16, "outputs": 32}


def _key(order: TeacherSettings, seed: int, parent: TeacherFile | None, images: Sequence[Image]) -> str:
    """Stands for all that a training depends on."""
    about = [order.model_dump(mode="json", by_alias=True), seed, parent and parent.card.digest]
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for image in images:
        digest.update(image.tobytes())
    return digest.hexdigest()


def _learner(order: TeacherSettings, parent: TeacherFile | None) -> tuple[Make, float]:
    """What is trained, for a number of channels, and its learning rate."""
    backbone = order.backbone
    if order.method == "self-supervised":
        return lambda channels: SelfSupervised(channels, backbone), 2e-3
    if parent is None:
        return lambda channels: UNet3Plus(channels, encoder=f"tu-{backbone}", depth=4, width=8), 5e-3
    big = parent.card.settings["backbone"]
    if order.into == "features":
        return lambda channels: Distillation(channels, big, backbone), 2e-3
    return lambda channels: PatchDistillation(channels, big, **PATCHES), 2e-3


def _at_work(products: Mapping[str, Sequence[Image]]) -> tuple[list[Image], list[tuple[int, Any]]]:
    """All images in three channels at their product's working scale, and of each product how many and its scale of difficulty."""
    images: list[Image] = []
    shares = []
    for found in products.values():
        if not found:
            continue
        scale = working_scale(found, MAX_PIXELS)
        small = [at_working_scale(image, scale) for image in found]
        small = [image if image.shape[2] == COLOURS else image.repeat(COLOURS, axis=2) for image in small]
        images += small
        shares.append((len(small), measure_scale(small)))
    return images, shares


def run(folder: BatchFolder) -> None:
    """The stage: ``params.yaml`` (``seed``, ``teacher``, ``products``: file names by product, ``origin``, ``licence``, ``made``)
    and, for a distilled one, ``parent/``, to ``teacher/``."""
    params = read_params(folder)
    order = read_settings(params, "teacher", TeacherSettings)
    seed = int(params.get("seed", 0))
    named = params.get("products")
    if not isinstance(named, dict) or not all(isinstance(files, list) for files in named.values()):
        raise BadSettings("params.yaml: products must be lists of files by product; write it with 'changeover teachers train'")
    progress = Progress(folder.path, "train_teacher")
    total, products = sum(map(len, named.values())), {}
    for product, files in named.items():
        products[product] = [read_image(Path(file)) for file in files]
        progress.update(0, total, f"reading images of {product}")
    parent = read_teacher(folder.file("parent")) if order.method == "distilled" else None

    def report(step: int, steps: int, loss: float, message: str) -> None:
        progress.update(step, steps, f"step {step} of {steps}, {message}")

    taught = train_teacher(products, order, seed, parent, report, folder.work / "train_teacher" / "checkpoint.pt")
    log = taught.log
    made = {
        **(params.get("made") or {}), "recipe": order.method, "seed": seed, "images": {p: len(f) for p, f in named.items()},
        "steps": log.steps, "steps_planned": log.steps_planned, "seconds": round(log.seconds, 1), "loss": round(log.smoothed, 5),
        "environment": environment(), "packages": packages(),
        **({"parent": parent.card.model_dump(mode="json")} if parent else {}),
    }  # fmt: skip
    card: TeacherCard = write_teacher(
        folder.file("teacher"), taught.weights, name=order.name, kind=taught.kind, settings=taught.settings, source=order.method,
        origin=str(params.get("origin") or f"trained here on good images of {', '.join(named)}"),
        licence=str(params.get("licence") or "trained on the plant's own images"), made=made,
    )  # fmt: skip
    print(f"teacher {card.title} after {taught.log.steps} steps")


if __name__ == "__main__":
    run_stage(run)
