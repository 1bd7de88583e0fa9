"""What the cache has lost of a batch is fetched from the store, or named."""

import shutil
from pathlib import Path

import pytest
import yaml

from core.errors import BadBatch, StorageError
from data.batch import BatchFolder
from data.dvc_settings import read_settings, set_remote
from data.lost import fetch_lost, lost
from data.repository import dvc
from data.store import push
from data.version import version_batch
from data.yaml_file import write_yaml
from tests.s3 import S3, s3, s3_server

__all__ = ["s3", "s3_server"]


def test_images_come_back_from_a_store_with_an_umlaut(plant: Path, batch: BatchFolder) -> None:
    set_remote(plant / ".dvc" / "config", "store", "../../Läger ß, #1/線")
    store = plant.parent / "Läger ß, #1" / "線"
    assert read_settings(plant)["remote"]["store"]["url"] == str(store)
    version_batch(plant, batch)
    assert lost(plant, batch) == []
    cache = plant / ".dvc" / "cache"
    files = sorted(file for file in (cache / "files").rglob("*") if file.is_file() and file.suffix != ".dir")
    for file in files[::2]:
        file.unlink()
    (gone,) = lost(plant, batch)
    assert (gone.output, gone.files) == (
        "good",
        len(files[::2]),
    ) and f"{gone.files} of the files of good/, first " in gone.as_text()
    assert fetch_lost(plant, batch) == []
    shutil.rmtree(cache)
    md5 = yaml.safe_load(batch.file("good.dvc").read_text())["outs"][0]["md5"]
    (gone,) = lost(plant, batch)
    assert gone.as_text() == f"the list of files of good/ ({md5})"
    assert fetch_lost(plant, batch) == []

    shutil.rmtree(cache)
    (store / "files" / "md5" / md5[:2] / md5[2:]).unlink()
    (gone,) = fetch_lost(plant, batch)
    assert gone.md5 == md5, "neither has it"
    version_batch(plant, batch)  # but the folder has
    assert lost(plant, batch) == [] and (store / "files" / "md5" / md5[:2] / md5[2:]).is_file()


def test_what_stages_made_goes_to_the_store_and_comes_back(plant: Path) -> None:
    folder = BatchFolder.of(plant, "bolt", "a")
    folder.path.mkdir(parents=True)
    make = {"cmd": "mkdir model && echo 1 > model/weights && echo 2 > told.json", "params": ["seed"]}
    stages = {"train": {**make, "outs": ["model", {"told.json": {"cache": False}}]}}
    write_yaml(folder.file("params.yaml"), {"seed": 1})
    write_yaml(folder.file("dvc.yaml"), {"stages": stages})
    dvc(folder.path, "repro", "--quiet", "train")
    push(plant, folder.path, "dvc.yaml")
    stored = [file.read_text() for file in (plant.parent / "store").rglob("*") if file.is_file()]
    assert sorted(text for text in stored if "md5" not in text) == ["1\n"] and len(stored) == 2
    shutil.rmtree(plant / ".dvc" / "cache")
    assert [gone.output for gone in lost(plant, folder)] == ["model"] and fetch_lost(plant, folder) == []
    shutil.rmtree(folder.file("model"))
    dvc(folder.path, "checkout", "--quiet", "dvc.yaml")
    assert (folder.file("model") / "weights").read_text() == "1\n"
    assert not [place.name for place in (plant / ".changeover").iterdir() if place.is_dir()]


def test_a_store_out_of_reach_and_a_damaged_record(plant: Path, batch: BatchFolder, s3: S3) -> None:
    version_batch(plant, batch)
    shutil.rmtree(plant / ".dvc" / "cache")
    (plant / ".dvc" / "config.local").write_text("['remote \"store\"']\n    url = s3://nobody-made-this\n")
    with pytest.raises(StorageError, match=r"storage s3://nobody-made-this at .* cannot be read: there is no such bucket"):
        fetch_lost(plant, batch)
    pointer = batch.file("good.dvc")
    pointer.write_text("outs:\n- md5: ../../etc/passwd\n  path: good\n")
    with pytest.raises(BadBatch, match="which is none"):
        lost(plant, batch)
    pointer.write_text("outs: [7]\n")
    with pytest.raises(BadBatch, match="damaged"):
        lost(plant, batch)
