"""What a warm start has learned is left out where the threshold and the figures of the gates come from, and nowhere else."""

from pathlib import Path

import pytest

from models.evaluation.exam import Batch, read_batch
from models.training.warm_start import learned_before
from tests.models.trained_batch import a_batch

SUBSETS = ("train", "tune", "calibrate", "test")


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Batch:
    return read_batch(a_batch(tmp_path_factory.mktemp("learned") / "batch"), SUBSETS)


def test_neither_good_images_nor_defects_on_them_measure(batch: Batch) -> None:
    names = {batch.good[subset][0].name for subset in SUBSETS}
    left = batch.measuring_without(names)
    assert [len(left.good[subset]) for subset in SUBSETS] == [4, 4, 3, 3]
    assert left.defects["tune"] == batch.defects["tune"]
    sources = [exam.source for exam in left.defects["test"]]
    gone = [exam for exam in batch.defects["test"] if exam.source in names]
    assert gone and len(sources) == len(batch.defects["test"]) - len(gone) and not names & set(map(str, sources))
    assert batch.measuring_without(set()) == batch


def test_a_batch_of_0_1_is_read_under_the_names_of_today(batch: Batch, tmp_path: Path) -> None:
    folder = a_batch(tmp_path / "batch")
    for file in (folder.file("split.json"), folder.file("defects") / "index.json"):
        file.write_text(file.read_text().replace('"test"', '"lock"'))
    found = read_batch(folder, SUBSETS)
    for now, before in ((found.good, batch.good), (found.defects, batch.defects)):
        assert {subset: [one.name for one in now[subset]] for subset in SUBSETS} == {
            subset: [one.name for one in before[subset]] for subset in SUBSETS
        }


def test_only_where_a_network_started_warm() -> None:
    start = {"product": "bolt", "version": "3", "weights_digest": "0" * 64, "learned": ["a.png"]}
    assert learned_before({"networks": [{"warm": False}, {"warm": True}], "warm_start": start}) == {"a.png"}
    assert learned_before({"networks": [{"warm": False}, {}], "warm_start": start}) == frozenset()
    assert learned_before({"networks": [{"warm": True}], "warm_start": {"version": "3"}}) == frozenset()
    assert learned_before({"networks": [{"warm": True}], "warm_start": None}) == learned_before({"networks": []}) == frozenset()
