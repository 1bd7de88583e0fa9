"""The demo: a plant, a sample product and a candidate to sign, with nothing prepared."""

import csv
import os
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from data.sample.pictures import write_sample
from flows.outcome import Outcome
from flows.plant import Plant
from flows.serving.servers import up
from flows.serving.services import connect_as, connect_as_person
from registry.client.users import add_user, change_password
from registry.errors import Refused, RegistryError

PRODUCT, BATCH = "sample-plate", "batch-1"
GOOD, DEFECTS, SEED = 54, 12, 1
"""A quarter of the good images and all defects are kept back for 'inspect'."""
QA_USER, QA_NAME = "eva.qa", "Eva Example"


@dataclass(frozen=True)
class Demo:
    """What the demo made. ``delivery`` holds the good images, ``sample`` those and what was kept back."""

    plant: Plant
    sample: Path
    delivery: Path
    outcome: Outcome
    user: str
    password: str
    seconds: float


def demo(folder: Path, run: Callable[[Path, str, str, Path], Outcome], log: Callable[[str], None]) -> Demo:
    """Make the plant or reuse it, start the servers, and let ``run(plant, product, batch, images)`` make a candidate.

    Running it again finds everything done. The servers stay up.
    """
    begin = time.monotonic()
    log(f"1 of 4: a plant at {folder}")
    plant = Plant.init(folder)
    log("2 of 4: the servers, MLflow and Prefect")
    up(plant, log)
    log(f"3 of 4: {GOOD} good images of a sample product, {DEFECTS} with defects for later")
    sample = plant.state / "sample"
    delivery = _deliver(sample)
    password = _qa_user(plant)
    log("4 of 4: from good images to a candidate, with preset quick")
    outcome = run(plant.path, PRODUCT, BATCH, delivery)
    return Demo(plant, sample, delivery, outcome, QA_USER, password, time.monotonic() - begin)


def _deliver(sample: Path) -> Path:
    """Draw the sample product, and lay the good images of its training part into a folder of their own."""
    if not (sample / "split.csv").exists():
        shutil.rmtree(sample, ignore_errors=True)
        write_sample(sample, GOOD, DEFECTS, SEED)
    delivery = sample.with_name("sample-delivery")
    delivery.mkdir(exist_ok=True)
    with (sample / "split.csv").open(encoding="utf-8", newline="") as stream:
        for line in csv.DictReader(stream):
            if line["split"] == "train":
                shutil.copyfile(sample / line["file"], delivery / Path(line["file"]).name)
    return delivery


def _qa_user(plant: Plant) -> str:
    """The password of the demo's QA person, who is added on the first call. A real person's password is kept nowhere."""
    file = plant.state / "demo-password"
    if not file.exists():
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
            stream.write(secrets.token_urlsafe(12))
    password = file.read_text(encoding="utf-8")
    first = f"{password}-first"
    try:
        add_user(connect_as(plant, "admin"), QA_USER, first, "qa", QA_NAME)
    except RegistryError as error:
        if "already exists" not in str(error):
            raise
    person = connect_as_person(plant, QA_USER, first)
    try:
        # As a person would: who got a password from an administrator may not sign with it.
        change_password(person, password)
    except Refused:
        replace(person, password=password).check()  # changed by an earlier call
    return password
