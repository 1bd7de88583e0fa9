"""Overlapping deliveries: what a warm start has learned neither calibrates nor tests what is made of it."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.errors import ChangeoverError
from core.files import file_digest, write_json
from data.batch import BatchFolder, BatchRecord, ImageRecord, images_digest
from data.version import commit_files
from flows.plant import Plant
from flows.steps import set_up as setting_up
from flows.steps import training_overlap as room
from flows.steps.job import make_job
from flows.steps.set_up import set_up
from flows.steps.training_overlap import training_overlap
from models.evaluation.metrics_file import Metrics
from registry.client.connection import Connection
from registry.client.versions import Version
from registry.errors import NotFound
from tests.flows.test_set_up import NOW
from tests.metrics_of_a_version import metrics_with

NOWHERE = Connection("http://127.0.0.1:9", "trainer", "")
Split = dict[str, list[str]]


def picture(number: int) -> np.ndarray:
    return np.random.default_rng([11, number]).integers(30, 220, (64, 64), dtype=np.uint8)


def lay(
    plant: Plant, product: str, batch: str, images: dict[str, Any], split: Split, groups: dict[str, str] | None = None
) -> str:
    """A batch of ``images`` (a number, or a path to copy), split so, in git; the commit."""
    folder, records = plant.batch(product, batch), []
    folder.good.mkdir(parents=True)
    for name, what in images.items():
        if isinstance(what, Path):
            shutil.copyfile(what, folder.good / name)
        else:
            Image.fromarray(picture(what)).save(folder.good / name)
        digest = file_digest(folder.good / name)
        records.append(ImageRecord(name=name, source_name=name, sha256=digest, bytes=1, width=64, height=64, channels=1))
    folder.write_record(BatchRecord(product=product, batch=batch, digest=images_digest(tuple(records)), images=tuple(records)))
    parts = {name: name for name in images} | (groups or {})
    write_json(folder.file("split.json"), {"tune": [], "groups": parts, "note": "", **split})
    return commit_files(plant.path, [folder.file("batch.yaml"), folder.file("split.json")], f"Lay {batch}")


def version(product: str, number: str, batch: str, commit: str) -> Version:
    digests = ("ab" * 32, "cd" * 32)
    return Version(product, number, batch, *digests, commit, "passed", "approved", (), 0.5, NOW, "", "", {})


class Line:
    """A registry in memory: version 2 of nut started from version 1, which had learned other images."""

    def __init__(self, first: Version, second: Version) -> None:
        self.versions = {("nut", "1"): first, ("nut", "2"): second}
        start = {"product": "nut", "version": "1", "weights_digest": "12" * 32}
        self.training: dict[str, dict[str, Any]] = {
            "1": {"weights_digest": "12" * 32, "warm_start": None},
            "2": {"weights_digest": "34" * 32, "warm_start": start},
        }

    def of(self, _connection: Connection, product: str, number: str) -> Version:
        if (product, number) not in self.versions:
            raise NotFound(f"{product} has no version {number}")
        return self.versions[product, number]

    def metrics(self, _connection: Connection, one: Version) -> Metrics:
        return metrics_with(training=self.training[one.version])


def names(letter: str, count: int) -> list[str]:
    return [f"{letter}{number:02d}.png" for number in range(count)]


@pytest.fixture
def line(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> Line:
    made = []
    for letter, first in (("a", 0), ("b", 100)):
        images = {name: first + number for number, name in enumerate(names(letter, 16))}
        split = {"train": list(images)[:12], "calibrate": list(images)[12:14], "test": list(images)[14:]}
        made.append(lay(plant, "nut", letter, images, split))
    line = Line(version("nut", "1", "a", made[0]), version("nut", "2", "b", made[1]))
    for module in (room, setting_up):
        monkeypatch.setattr(module, "version_of", line.of)
        monkeypatch.setattr(module, "fetch_metrics", line.metrics)
    return line


def overlapping(plant: Plant, known: Sequence[str] = ("x00.png", "x01.png")) -> BatchFolder:
    """A delivery of 24 new images, but: ``known`` are copies of what a and b were trained on; three others are nearly so, or
    of the same part as one, or were in a but not learned."""
    a, b = (plant.batch("nut", letter).good for letter in "ab")
    images: dict[str, Any] = {name: 200 + number for number, name in enumerate(names("x", 24))}
    images |= {
        name: (a if number % 2 else b) / f"{'a' if number % 2 else 'b'}{number:02d}.png" for number, name in enumerate(known)
    }
    again = plant.path.parent / "again.jpg"
    Image.fromarray(picture(103)).save(again, quality=95)
    images["x02.jpg"] = again  # b03, saved anew
    del images["x02.png"]
    images["x03.png"] = a / "a13.png"  # calibrated before
    split = {"calibrate": sorted(images)[:8], "test": sorted(images)[8:12], "train": sorted(images)[12:]}
    lay(plant, "nut", "c", images, split, {"x00.png": "part 7", "x08.png": "part 7"})
    return plant.batch("nut", "c")


def test_copies_near_duplicates_and_images_of_the_same_part_are_known(plant: Plant, line: Line) -> None:
    folder = overlapping(plant)
    found = training_overlap(plant, NOWHERE, line.versions["nut", "2"], folder)
    assert found == {"calibrate": ["x00.png", "x01.png", "x02.jpg"], "test": ["x08.png"]}
    # The first of the line had learned a alone; x01 is its a01.
    assert training_overlap(plant, NOWHERE, line.versions["nut", "1"], folder) == {"calibrate": ["x01.png"], "test": []}
    folder.file("split.json").unlink()
    assert training_overlap(plant, NOWHERE, line.versions["nut", "2"], folder) == {"calibrate": [], "test": []}


def test_learned_images_that_are_alike_do_not_hide_one_another(plant: Plant, line: Line) -> None:
    """The champion learned two near-duplicates; the new image is nearly the second, and unlike the first."""
    draw, place = np.random.default_rng(5), plant.path.parent
    one, other = draw.normal(size=(2, 64, 64))
    for name, turn in (("first", 0.0), ("second", 31.0), ("third", 62.0)):
        mixed = 128 + 30 * (one * np.cos(np.radians(turn)) + other * np.sin(np.radians(turn)))
        Image.fromarray(np.clip(mixed, 0, 255).astype(np.uint8)).save(place / f"{name}.png")
    extra = {"y0.png": place / "first.png", "y1.png": place / "second.png"}
    old = {name: 600 + number for number, name in enumerate(names("o", 14))} | extra
    commit = lay(plant, "nut", "d", old, {"train": list(old), "calibrate": [], "test": []})
    new = {name: 700 + number for number, name in enumerate(names("n", 14))} | {"z.png": place / "third.png"}
    lay(plant, "nut", "e", new, {"train": [], "calibrate": list(new), "test": []})
    started = replace(line.versions["nut", "1"], batch="d", commit=commit)
    assert training_overlap(plant, NOWHERE, started, plant.batch("nut", "e"))["calibrate"] == ["z.png"]


def test_what_cannot_be_told_is_an_error(plant: Plant, line: Line) -> None:
    folder, second = overlapping(plant), line.versions["nut", "2"]
    for broken, words in (
        (replace(second, commit="0" * 40), "git has no record of the images that version 2 of nut was trained on"),
        (replace(second, batch="c"), "git has no record"),
    ):
        with pytest.raises(ChangeoverError, match=words):
            training_overlap(plant, NOWHERE, broken, folder)
    image = plant.batch("nut", "a").good / "a05.png"
    image.write_bytes(b"")
    with pytest.raises(ChangeoverError, match=r"a05\.png was changed after version 1 of nut was trained on it"):
        training_overlap(plant, NOWHERE, second, folder)
    image.unlink()
    with pytest.raises(ChangeoverError, match="the images that version 1 of nut was trained on are not in"):
        training_overlap(plant, NOWHERE, second, folder)
    del line.versions["nut", "1"]
    with pytest.raises(NotFound):
        training_overlap(plant, NOWHERE, second, folder)


@pytest.fixture
def champion(line: Line, monkeypatch: pytest.MonkeyPatch) -> Version:
    """Version 2 of nut, whose weights are at hand; there is no teacher."""
    monkeypatch.setattr(setting_up, "champion", lambda *_: line.versions["nut", "2"])
    monkeypatch.setattr(setting_up, "_lay_teacher", lambda *_: "")
    monkeypatch.setattr(setting_up, "_lay_model", lambda *_: None)
    return line.versions["nut", "2"]


def warm(plant: Plant) -> tuple[str, dict[str, Any]]:
    job = make_job(plant, "nut", "c", str(plant.path), warm_start="same")
    told = set_up(job, NOWHERE)
    return told, json.loads((job.folder.file("warm") / "warm.json").read_text())


def test_a_start_names_what_it_has_learned(plant: Plant, champion: Version) -> None:
    overlapping(plant)
    told, start = warm(plant)
    assert told.endswith("starts warm from version 2 of nut, which has learned 4 images that neither calibrate nor test")
    assert start["learned"] == ["x00.png", "x01.png", "x02.jpg", "x08.png"]


def test_a_start_that_knows_half_of_what_measures_is_none(plant: Plant, champion: Version) -> None:
    overlapping(plant, names("x", 7))
    told, start = warm(plant)
    assert "no warm start: champion 2 of nut has learned 6 of the 8 images that are to calibrate the threshold" in told
    assert start == {"version": None}


def test_without_a_record_there_is_no_warm_start(plant: Plant, champion: Version, line: Line) -> None:
    overlapping(plant)
    line.versions["nut", "2"] = replace(champion, commit="0" * 40)
    told, start = warm(plant)
    assert "no warm start: it cannot be told which of these images champion 2 of nut has learned (git has no record" in told
    assert start == {"version": None}
