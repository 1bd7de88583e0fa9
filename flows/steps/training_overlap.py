"""The overlap of a batch with a champion's training: images that it, or what it started from, was trained on, and
near-duplicates."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from pydantic import ValidationError

from core.errors import BadBatch
from core.files import file_digest
from data.batch import BatchFolder, BatchRecord, ImageRecord
from data.checkout import file_at, pull_images
from data.image import read_image
from data.split import of_today
from data.validation.duplicates import find_duplicates, thumbnail
from flows.plant import Plant
from flows.stages import when_free
from flows.steps.fetch import fetch_metrics
from registry.client.connection import Connection
from registry.client.versions import Version, version_of

MEASURING = ("calibrate", "test")
"""Subsets that give the threshold and the figures of the gates (``models.evaluation.exam`` says the same without being loaded
here)."""


def training_overlap(plant: Plant, connection: Connection, champion: Version, folder: BatchFolder) -> dict[str, list[str]]:
    """For each subset in ``MEASURING``, the sorted names of the images of the batch in ``folder`` that show parts which
    ``champion`` was trained on. Empty where the batch has not been split.

    ChangeoverError or a registry's error where that cannot be determined, since records or images of that time are missing.
    """
    if not folder.file("split.json").is_file():
        return {subset: [] for subset in MEASURING}
    record = folder.read_record()
    split = of_today(_object(folder.file("split.json").read_text(encoding="utf-8"), f"split.json in {folder.path}"))
    before = [one for version in _line_of(connection, champion) for one in _trained_on(plant, version)]
    known = _known_again(before, [(folder.good / image.name, image) for image in record.images])
    parts = split.get("groups") or {}
    seen = {parts.get(name, name) for name in known}
    return {subset: sorted(name for name in split.get(subset) or () if parts.get(name, name) in seen) for subset in MEASURING}


def _line_of(connection: Connection, champion: Version) -> Iterator[Version]:
    """The champion, the version that its networks started from, and so on."""
    version, passed = champion, set[tuple[str, str]]()
    while (version.product, version.version) not in passed:
        passed.add((version.product, version.version))
        yield version
        start = fetch_metrics(connection, version).training.warm_start
        if start is None or start.version is None:
            return
        version = version_of(connection, start.product, start.version)


def _trained_on(plant: Plant, version: Version) -> list[tuple[Path, ImageRecord]]:
    """The images that a version's networks were trained on, as git has them on record, and where they lie."""
    name = f"version {version.version} of {version.product}"
    texts = (file_at(plant.path, version.commit, version.product, version.batch, part) for part in ("batch.yaml", "split.json"))
    record_text, split_text = texts
    if record_text is None or split_text is None:
        raise BadBatch(f"git has no record of the images that {name} was trained on; fetch the plant's history with 'git fetch'")
    try:
        record = BatchRecord.model_validate(yaml.safe_load(record_text))
        images = {image.name: image for image in record.images}
        train = [images[image] for image in _object(split_text, "split.json")["train"]]
    except (yaml.YAMLError, ValidationError, KeyError, TypeError) as error:
        raise BadBatch(f"the record of the images that {name} was trained on is damaged ({type(error).__name__})") from error
    folder = plant.batch(version.product, version.batch)
    found = [(folder.good / image.name, image) for image in train]
    if not all(path.is_file() for path, _ in found):
        if not folder.file("good.dvc").is_file():
            raise BadBatch(f"the images that {name} was trained on are not in {folder.path}; restore it with 'git checkout'")
        when_free(lambda: pull_images(folder))
    for path, image in found:
        if file_digest(path) != image.sha256:
            raise BadBatch(f"{path} was changed after {name} was trained on it; delete the folder good and run again to fetch it")
    return found


def _known_again(before: list[tuple[Path, ImageRecord]], now: list[tuple[Path, ImageRecord]]) -> set[str]:
    """Names among ``now`` of images that are among ``before``, or nearly."""
    digests = {image.sha256 for _, image in before}
    known = {image.name for _, image in now if image.sha256 in digests}
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        small = list(pool.map(_thumbnail, [path for path, _ in (*before, *now)]))
    # What was before comes first in the order of names: what repeats it points to it.
    names = [f"0 {number:06d}" for number in range(len(before))] + [f"1 {image.name}" for _, image in now]
    references = list(range(len(before)))
    while references:
        rows = [*references, *(row for row in range(len(before), len(names)) if names[row][2:] not in known)]
        repeats = find_duplicates([names[row] for row in rows], np.stack([small[row] for row in rows]))
        known |= {name[2:] for name, other in repeats.items() if name[0] == "1" and other[0] == "0"}
        # Of training images that are alike, only the first was compared: the others are compared in the next round.
        references = [row for row in references if names[row] in repeats]
    return known


def _thumbnail(path: Path) -> np.ndarray:
    pixels = read_image(path)
    return thumbnail(pixels[:, :, 0] if pixels.shape[2] == 1 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))


def _object(text: str, name: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise BadBatch(f"{name} is damaged; restore it with 'git checkout'") from error
    if not isinstance(found, dict):
        raise BadBatch(f"{name} holds {type(found).__name__}, not an object; restore it with 'git checkout'")
    return found
