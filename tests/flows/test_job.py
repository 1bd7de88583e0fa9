"""What is laid beside a batch's images, and that every stage understands it."""

import json
from pathlib import Path

import pytest
import yaml

from core.errors import BadName
from data.defects.recipe import Recipe
from data.validation.settings import ValidateSettings
from flows.errors import PlantError
from flows.plant import Plant
from flows.presets import PRESETS
from flows.steps.job import history, lay_out, make_job, pipeline
from tests.data.defects.test_draw import write_cutout


@pytest.mark.parametrize("preset", PRESETS)
def test_every_stage_understands_its_section(plant: Plant, tmp_path: Path, preset: str) -> None:
    from models.settings import EvaluateSettings, TrainSettings, TuneSettings

    params = make_job(plant, "bolt", "b1", str(tmp_path), preset).params()
    for section, model in (
        ("validate", ValidateSettings), ("recipe", Recipe), ("tune", TuneSettings), ("train", TrainSettings),
        ("evaluate", EvaluateSettings),
    ):  # fmt: skip
        model.model_validate(params[section])


def test_the_smallest_budget_is_understood_too(plant: Plant, tmp_path: Path) -> None:
    params = make_job(plant, "bolt", "b1", str(tmp_path), budget="10s").params()
    assert params["tune"] == {"trials": 1} and params["train"]["seconds"] == 10


def test_files_are_laid_once(plant: Plant, tmp_path: Path) -> None:
    job = make_job(plant, "bolt", "b1", str(tmp_path))
    lay_out(job)
    files = {name: job.folder.file(name) for name in ("params.yaml", "dvc.yaml", "history.json")}
    before = {name: file.stat().st_mtime_ns for name, file in files.items()}
    assert yaml.safe_load(files["params.yaml"].read_text()) == job.params()
    assert files["dvc.yaml"].read_text() == pipeline()
    lay_out(job)
    assert {name: files[name].stat().st_mtime_ns for name in ("params.yaml", "dvc.yaml")} == {
        name: before[name] for name in ("params.yaml", "dvc.yaml")
    }


def test_the_products_library_is_laid_beside_the_batch_and_stays(plant: Plant, tmp_path: Path) -> None:
    job = make_job(plant, "bolt", "b1", str(tmp_path))
    lay_out(job)
    assert json.loads((job.folder.file("library") / "index.json").read_text()) == {"cutouts": {}}
    second = make_job(plant, "bolt", "b2", str(tmp_path))
    write_cutout(plant.path / "products" / "bolt" / "library")
    lay_out(job)
    lay_out(second)
    assert not list(job.folder.file("library").glob("*.png"))
    assert [file.name for file in second.folder.file("library").glob("*.png")] == ["crack.png"]
    with pytest.raises(BadName):
        make_job(plant, "bolt", "library", str(tmp_path))


def test_history_is_that_of_the_other_batches_and_stands_once_decided(plant: Plant, tmp_path: Path) -> None:
    fact = {"name": "a", "brightness": 0.5, "contrast": 0.1, "sharpness": 9.0, "width": 5}
    for batch, passed in (("a", True), ("b", False), ("mine", True)):
        folder = plant.batch("bolt", batch).path
        folder.mkdir(parents=True)
        (folder / "validation.json").write_text(json.dumps({"passed": passed, "facts": [fact]}))
    plant.batch("bolt", "a").file("../damaged").resolve().mkdir()
    (plant.batch("bolt", "damaged").path / "validation.json").write_text("{")
    for number, broken in enumerate(("[]", '{"passed": true, "facts": [{"brightness": null}]}', '{"passed": true, "facts": []}')):
        plant.batch("bolt", f"broken{number}").path.mkdir()
        (plant.batch("bolt", f"broken{number}").path / "validation.json").write_text(broken)
    kept = {"images": 1, "brightness": [0.5], "contrast": [0.1], "sharpness": [9.0]}
    assert history(plant, "bolt", "mine") == {"batches": {"a": kept}}

    job = make_job(plant, "bolt", "mine", str(tmp_path))
    job.folder.file("decision.json").write_text("{}")
    job.folder.file("history.json").write_text("as it was")
    lay_out(job)
    assert job.folder.file("history.json").read_text() == "as it was"


def test_what_is_left_away_comes_from_the_settings(plant: Plant, tmp_path: Path) -> None:
    (tmp_path / "camera").mkdir()
    product = f"products: {{bolt: {{images: {tmp_path / 'camera'}, budget: 100s}}}}"
    (plant.path / "changeover.yaml").write_text(f"preset: quick\nbudget: 5m\ngates: {{image_auroc: 0.9}}\n{product}\n")
    place = Plant.open(plant.path)
    job = make_job(place, "bolt", "b1")
    assert (job.images, job.order.preset, job.order.seconds) == (tmp_path / "camera", "quick", 100)
    assert job.params()["evaluate"] == {"gates": {"image_auroc": 0.9}}
    assert make_job(place, "bolt", "b1", budget="50s").order.seconds == 50
    assert make_job(place, "nut", "b1", str(tmp_path)).order.seconds == 300

    folder = plant.path / "products" / "bolt"
    folder.mkdir(parents=True)
    (folder / "product.yaml").write_text("gates: {image_auroc: 0.95, easy_escape: 0.1}\noverkill_target: 0.02\n")
    assert job.params()["evaluate"] == {"gates": {"image_auroc": 0.95, "easy_escape": 0.1}, "overkill_target": 0.02}
    assert job.params_digest() != make_job(place, "bolt", "b1", budget="50s").params_digest()


def test_what_cannot_be_done_is_told_at_once(plant: Plant, tmp_path: Path) -> None:
    with pytest.raises(PlantError, match="has no folder of images"):
        make_job(plant, "bolt", "b1")
    with pytest.raises(PlantError, match="is not a folder"):
        make_job(plant, "bolt", "b1", str(tmp_path / "nowhere"))
    with pytest.raises(BadName, match="batch name"):
        make_job(plant, "bolt", "../b1", str(tmp_path))
    (plant.path / "changeover.yaml").write_text("gates: {beauty: 1.0}\n")
    with pytest.raises(PlantError, match=r"changeover.yaml: gates.beauty is not a setting"):
        make_job(Plant.open(plant.path), "bolt", "b1", str(tmp_path))
