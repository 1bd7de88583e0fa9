"""One path of settings: the nearest one wins, what is wrong is refused where it stands, and each says where it comes from."""

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from core.errors import BadSettings
from docs.list_settings import PAGE, page
from flows.cli import app
from flows.config import PlantConfig, Product, ProductFile
from flows.errors import PlantError
from flows.plant import Plant
from flows.settings import every_setting, order_of
from flows.stage_sections import SECTIONS, StageSections
from flows.steps.job import lay_out, make_job
from flows.steps.recalibrate import _order_of


def written(plant: Plant, text: str, product: str = "") -> Plant:
    """The plant with ``text`` as its settings, or as those of ``product``."""
    target = plant.path / (f"products/{product}/product.yaml" if product else "changeover.yaml")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    return Plant.open(plant.path)


def test_everything_that_a_stage_can_do_can_be_set_and_the_nearest_one_wins(plant: Plant, tmp_path: Path) -> None:
    place = written(
        plant,
        "validate: {few_images: 40}\nrecipe: {nuisance: 0.5, per_family: 6}\ntune: {detectors: [unet3plus, stpm], side: 160}\n"
        "train: {companion: null, networks: 2}\nevaluate: {flips: 2}\ngates: {image_auroc: 0.9, parity: 0.01}\n",
    )
    written(
        plant,
        "recipe: {nuisance: 0.2}\ntrain: {companion: stpm}\nevaluate: {gates: {image_auroc: 0.95}}\nregion: {left: 0.1}\n",
        "bolt",
    )
    bolt, nut = (make_job(place, name, "b1", str(tmp_path), "quick").params() for name in ("bolt", "nut"))
    assert nut["validate"] == bolt["validate"] == {"few_images": 40}
    assert (nut["recipe"], bolt["recipe"]) == ({"nuisance": 0.5, "per_family": 6}, {"nuisance": 0.2, "per_family": 6})
    assert nut["tune"] == {"trials": 1, "detectors": ["unet3plus", "stpm"], "side": 160}
    assert nut["train"] == {"seconds": 240, "companion": None, "networks": 2} and bolt["train"]["companion"] == "stpm"
    assert nut["evaluate"] == {"flips": 2, "gates": {"image_auroc": 0.9, "parity": 0.01}}
    assert bolt["evaluate"] == {"flips": 2, "gates": {"image_auroc": 0.95, "parity": 0.01}, "region": {"left": 0.1}}
    for params in (bolt, nut):
        for section, model in SECTIONS.items():
            model.model_validate(params[section])


def test_preset_and_budget_of_the_products_file_go_before_the_plants(plant: Plant, tmp_path: Path) -> None:
    place = written(plant, "preset: thorough\nproducts: {bolt: {budget: 90s}, nut: {budget: 80s}}\n")
    written(plant, "preset: quick\nbudget: 70s\n", "bolt")
    assert [make_job(place, name, "b1", str(tmp_path)).order.seconds for name in ("bolt", "nut")] == [70, 80]
    assert make_job(place, "bolt", "b1", str(tmp_path)).order.preset == "quick"
    assert make_job(place, "bolt", "b1", str(tmp_path), budget="60s").order.seconds == 60


@pytest.mark.parametrize(
    "text", ["tune:\n", "tune:\n  side:\n", "evaluate:\n  gates:\n  region:\n", "gates:\n  parity:\n", "train: {seconds: }\n"]
)
def test_an_empty_section_or_line_is_the_default(plant: Plant, tmp_path: Path, text: str) -> None:
    written(plant, text, "bolt")
    assert make_job(plant, "bolt", "b1", str(tmp_path)).params() == make_job(plant, "nut", "b1", str(tmp_path)).params()


def test_a_plant_that_sets_nothing_gives_what_0_1_gave(plant: Plant, tmp_path: Path) -> None:
    assert make_job(plant, "bolt", "b1", str(tmp_path), "quick").params() == {
        "seed": 1, "preset": "quick", "validate": {}, "recipe": {}, "tune": {"trials": 1},
        "train": {"seconds": 240, "companion": "patchcore"}, "evaluate": {},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("region: {lefft: 0.1}", r"product.yaml: region.lefft is not a setting, is left meant\?"),
        ("regoin: {left: 0.1}", r"regoin is not a setting, is region meant\?"),
        ("region: {left: 0.9, right: 0.1}", r"region .*is empty; give left < right"),
        ("region: {left: 2}", r"region.left 2: input should be less than or equal to 1"),
        ("tune: {detectors: [unet9]}", r"tune.detectors.0: 'unet9' is not one of unet3plus, unet"),
        ("train: {companion: none}", r"train.companion: 'none' is not one of .*null says none"),
        ("tune: {detectors: unet}", r"tune.detectors 'unet': input should be a valid tuple"),
        ("train: {replay: []}", r"train.replay is not a setting"),
        ("recipe: {families: [bezir]}", r"recipe.*\['bezir'\] must name at least one of bezier"),
        ("recipe: {size_hard: 0.9}", r"difficulty must grow as size"),
        ("validate: {few_images: no}", r"validate.few_images 'no'|validate.few_images False"),
        ("evaluate: {flips: 3}", r"evaluate.flips 3: input should be 1, 2 or 4"),
        ("overkill_target: 0.02\nevaluate: {overkill_target: 0.03}", r"overkill_target stands at the left margin and under"),
        ("gates: {image_auroc: 0.9}\ngates: {parity: 1}", r"line 2: 'gates' stands here again, first in line 1"),
        ("images: /mnt/camera", r"images is not a setting"),
        ("train: 5", r"train 5: "),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_before_anything_runs(plant: Plant, tmp_path: Path, text: str, words: str) -> None:
    written(plant, text, "bolt")
    with pytest.raises(PlantError, match=words) as refused:
        make_job(plant, "bolt", "b1", str(tmp_path))
    assert "product.yaml" in str(refused.value) and "\n" not in str(refused.value)


def test_what_holds_in_each_file_but_not_together_names_both(plant: Plant, tmp_path: Path) -> None:
    place = written(plant, "recipe: {size_easy: 0.2}\n")
    written(plant, "recipe: {size_hard: 0.4}\n", "bolt")
    make_job(place, "nut", "b1", str(tmp_path))
    with pytest.raises(BadSettings, match=r"section recipe of changeover.yaml and products/bolt/product.yaml .*difficulty"):
        make_job(place, "bolt", "b1", str(tmp_path))


def test_an_order_is_found_again_where_somebody_set_what_follows_from_it(plant: Plant, tmp_path: Path) -> None:
    for text in ("", "tune: {seconds: 60, trials: 4}\n", "train: {seconds: 100}\n", "train: {networks: 2}\n"):
        place = written(plant, text)
        for preset, budget in (("quick", None), ("standard", "9m"), ("thorough", None)):
            job = make_job(place, "bolt", "b1", str(tmp_path), preset, budget)
            again = _order_of(job.params())
            assert (again.preset, again.seconds) == (job.order.preset, job.order.seconds), text


def test_a_change_of_params_by_hand_is_refused_and_not_lost(plant: Plant, tmp_path: Path) -> None:
    job = make_job(plant, "bolt", "b1", str(tmp_path), "quick")
    lay_out(job)
    file = job.folder.file("params.yaml")
    by_hand = file.read_text().replace("trials: 1", "trials: 5")
    file.write_text(by_hand)
    with pytest.raises(
        PlantError, match=r"params.yaml was changed by hand \(tune.trials is 5\); set that in products/bolt/product"
    ):
        lay_out(job)
    assert file.read_text() == by_hand
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PlantError, match=r"params.yaml is no text in UTF-8; delete it"):
        lay_out(job)
    file.unlink()
    lay_out(job)
    lay_out(make_job(plant, "bolt", "b1", str(tmp_path), "standard"))  # another order is no change by hand
    assert yaml.safe_load(file.read_text())["preset"] == "standard"


def test_a_file_of_0_1_stays_as_it_is_where_it_says_the_same(plant: Plant, tmp_path: Path) -> None:
    job = make_job(plant, "bolt", "b1", str(tmp_path), "quick")
    job.folder.path.mkdir(parents=True)
    file = job.folder.file("params.yaml")
    file.write_text(yaml.safe_dump(job.params(), sort_keys=False))
    before = file.read_bytes()
    lay_out(job)
    assert file.read_bytes() == before
    file.write_text("preset: quick\n")
    lay_out(job)
    assert yaml.safe_load(file.read_text()) == job.params()


def test_each_setting_says_where_it_comes_from(plant: Plant) -> None:
    place = written(plant, "preset: quick\ngates: {parity: 0.01}\nstorage: {publish: line}\n")
    written(plant, "region: {left: 0.1}\nrecipe: {nuisance: 0.5}\n", "bolt")
    found = {one.name: (one.value, one.origin) for one in every_setting(place, "bolt", order_of(place, "bolt"))}
    assert found["evaluate.region.left"] == (0.1, "products/bolt/product.yaml")
    assert found["evaluate.region.right"] == (1.0, "default")
    assert found["evaluate.gates.parity"] == (0.01, "changeover.yaml")
    assert found["train.companion"] == ("patchcore", "preset quick") and found["train.seconds"] == (240, "preset quick")
    assert found["recipe.nuisance"] == (0.5, "products/bolt/product.yaml")
    plants = {one.name: (one.value, one.origin) for one in every_setting(place, None, order_of(place, None))}
    assert plants["storage.publish"] == ("line", "changeover.yaml") and plants["preset"] == ("quick", "changeover.yaml")
    assert plants["storage.remote"] == (".changeover/store", "default") and plants["recipe.nuisance"] == (1.0, "default")
    assert not any("replay" in name for name in plants)


def test_the_command_shows_them(plant: Plant) -> None:
    written(plant, "region: {left: 0.1}\n", "bolt")
    shown = CliRunner().invoke(app, ["settings", "--plant", str(plant.path), "--product", "bolt"])
    assert shown.exit_code == 0 and "evaluate.region.left" in shown.output and "products/bolt/product.yaml" in shown.output


def test_the_page_of_settings_is_that_of_the_code() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew: python docs/list_settings.py"
    assert not [line for line in page().splitlines() if line.startswith("| `") and line.rstrip(" |").endswith("|")]
    for model in (PlantConfig, Product, ProductFile):
        assert all(f"`{name}`" in page() or name in ("products", *StageSections.model_fields) or f"`{name}." in page()
                   for name in model.model_fields)  # fmt: skip
