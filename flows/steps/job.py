"""A job: one batch of one product in one plant, what to spend on it, and the files that are laid beside its images."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.files import write_json, write_text
from data.batch import LIBRARY, TEMPLATES, BatchFolder, check_name
from data.defects.library import lay_library
from data.validation.history import EarlierBatch
from flows.config import PlantConfig, Product
from flows.errors import PlantError
from flows.plant import Plant
from flows.presets import RunRequest
from flows.serving.locks import host_lock_file
from flows.settings import PRODUCT_FILE, layers, merged, order_of
from flows.steps.params_file import lay_params


@dataclass(frozen=True)
class Job:
    """What one run has to do. Names are checked when it is made."""

    plant: Plant
    product: str
    batch: str
    images: Path
    order: RunRequest

    def __post_init__(self) -> None:
        self.plant.batch(self.product, self.batch)

    @property
    def folder(self) -> BatchFolder:
        """The batch's folder, which may not exist yet."""
        return self.plant.batch(self.product, self.batch)

    @property
    def logs(self) -> Path:
        """Folder of the logs of this batch's stages."""
        return self.plant.logs / self.product / self.batch

    def params(self) -> dict[str, Any]:
        """The content of ``params.yaml``: the order, and what plant and product set of the stages; the nearest one wins.

        BadSettings where settings that hold one by one contradict each other: better now than after training.
        """
        params = merged(layers(self.plant, self.product, self.order), self.order.seconds)
        if self.plant.config.teacher != PlantConfig().teacher:
            params["set_up"] = {"teacher": self.plant.config.teacher, **params.get("set_up", {})}
        return params

    def params_digest(self) -> str:
        """SHA-256 of the parameters as canonical JSON."""
        return _digest(self.params())

    def training_digest(self) -> str:
        """Likewise of what tuning and training depend on: all but the section ``evaluate``."""
        return _digest({name: value for name, value in self.params().items() if name != "evaluate"})


def _digest(params: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()


def make_job(
    plant: Plant,
    product: str,
    batch: str,
    images: str | None = None,
    preset: str | None = None,
    budget: str | None = None,
    seed: int = 1,
    warm_start: str | None = None,
) -> Job:
    """Check what was asked for before anything is started; what is None comes from ``changeover.yaml``.

    ``warm_start``: ``same`` or a product of this plant, whose champion training starts from.
    BadName, BadSettings or PlantError for what cannot be done, a home or cache folder that cannot be written among it.
    """
    check_name("product", product)
    own = plant.config.products.get(product, Product())
    images = images or own.images
    if not images:
        raise PlantError(f"product {product!r} has no folder of images; give --images FOLDER, or set it in changeover.yaml")
    folder = plant.path / Path(images).expanduser()
    if not folder.is_dir():
        raise PlantError(f"{folder} is not a folder; name the folder that holds the good images of {product} {batch}")
    warm = _warm_start(plant, product, warm_start or own.warm_start)
    cost = order_of(plant, product, preset, budget)
    order = RunRequest(cost.preset, cost.budget, seed, warm)
    job = Job(plant, product, batch, folder, order)
    job.params()
    host_lock_file()  # better now than when training is to begin
    return job


def _warm_start(plant: Plant, product: str, wanted: str | None) -> str | None:
    """The product whose champion to start from."""
    if wanted is None or wanted in ("same", product):
        return product if wanted else None
    there = plant.products()
    if wanted not in there:
        names = ", ".join(["same", *there[:8]]) + (" …" if len(there) > 8 else "")
        raise PlantError(f"warm start from {wanted[:63]!r}, which is no product of {plant.path}; give one of {names}")
    return wanted


def lay_out(job: Job) -> None:
    """Write ``params.yaml``, ``dvc.yaml``, ``library/`` and ``history.json`` beside the images; what is right is not touched."""
    folder = job.folder
    lay_params(folder.file("params.yaml"), job.params(), f"products/{job.product}/{PRODUCT_FILE}")
    _write_if_new(folder.file("dvc.yaml"), pipeline())
    lay_library(folder.path.parent / LIBRARY, folder.file(LIBRARY), folder.path.parent / TEMPLATES)
    # Once decided, a batch keeps the history it was judged by: later batches must not make its stages run again.
    if not folder.file("decision.json").exists():
        write_json(folder.file("history.json"), history(job.plant, job.product, job.batch))


def pipeline() -> str:
    """The text of the pipeline of one batch: ``dvc.yaml`` of the repository, or its copy in an installed package."""
    room = Path(__file__).resolve().parents[1]
    source = room / "dvc.yaml" if (room / "dvc.yaml").exists() else room.parent / "dvc.yaml"
    return source.read_text(encoding="utf-8")


def history(plant: Plant, product: str, batch: str) -> dict[str, Any]:
    """Brightness, contrast and sharpness of the product's other batches that passed validation (see
    ``data.validation.history``)."""
    batches: dict[str, Any] = {}
    for file in sorted((plant.path / "products" / product).glob("*/validation.json")):
        name = file.parent.name
        if name == batch:
            continue
        try:
            validation = json.loads(file.read_text(encoding="utf-8"))
            if validation["passed"]:
                batches[name] = EarlierBatch.of_facts(validation["facts"]).model_dump(mode="json")
        except (OSError, ValueError, KeyError, TypeError):
            continue  # a batch that is being worked on right now
    return {"batches": batches}


def _write_if_new(target: Path, text: str) -> None:
    if not target.exists() or target.read_text(encoding="utf-8") != text:
        write_text(target, text)
