"""What a champion is asked about: images that it has not learned from."""

import shutil

from core.files import write_json
from flows.plant import Plant
from flows.presets import RunRequest
from flows.steps.decide import unseen
from flows.steps.job import Job
from tests.flows.test_teachers import lay_batch


def job(plant: Plant, batch: str) -> Job:
    return Job(plant, "bolt", batch, plant.path, RunRequest())


def test_images_that_the_champion_was_trained_on_say_nothing(plant: Plant) -> None:
    learned = lay_batch(plant, "bolt", "b1", 14, 1, tag=False)
    lay_batch(plant, "bolt", "b2", 14, 1, tag=False)  # the same images once more
    lay_batch(plant, "bolt", "b3", 14, 2, tag=False)
    again = [image.name for image in unseen(job(plant, "b2"), "b1")]
    assert again == ["000.png", "001.png"] and not set(again) & set(learned)
    assert len(unseen(job(plant, "b3"), "b1")) == 14


def test_all_images_count_where_none_would_be_left_or_nothing_is_known(plant: Plant) -> None:
    lay_batch(plant, "bolt", "b1", 14, 1, tag=False)
    lay_batch(plant, "bolt", "b2", 14, 1, tag=False)
    split = plant.batch("bolt", "b1").file("split.json")
    write_json(split, {"train": [f"{n:03}.png" for n in range(14)]})
    assert len(unseen(job(plant, "b2"), "b1")) == 14
    split.write_text("[1")
    assert len(unseen(job(plant, "b2"), "b1")) == 14
    shutil.rmtree(plant.batch("bolt", "b1").path)
    assert len(unseen(job(plant, "b2"), "b1")) == 14 == len(unseen(job(plant, "b2"), "../b1"))
