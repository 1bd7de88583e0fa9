"""Regions of interest of a product: typed, written into product.yaml, drawn, and taken by what runs next."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from core.errors import BadSettings
from core.files import write_json
from data.batch import BatchRecord, ImageRecord
from data.overlay_mark import is_overlay_file
from data.stage import read_params
from data.yaml_file import write_yaml
from flows.cli import app
from flows.config import read_product_file
from flows.errors import PlantError
from flows.newest_batch import newest_batch
from flows.plant import Plant
from flows.polygon_text import parse_polygon, polygon_text
from flows.product_setting import write_setting
from flows.records import rebuild
from flows.region import region_of, set_region
from flows.steps import recalibrate
from flows.steps.job import make_job
from flows.steps.recalibrate import recalibration, region_changed
from models.evaluation.metrics_file import Metrics, Outside, Training
from models.inspection.region import Region, mask_of
from models.settings import ReplayedEvaluation
from registry.client.versions import Version
from tests.flows.test_settings import written

TRIANGLE = ((0.1, 0.1), (0.9, 0.1), (0.9, 0.9))
SQUARE = ((0.25, 0.25), (0.5, 0.25), (0.5, 0.5), (0.25, 0.5))


def a_batch(plant: Plant, name: str = "b1", sizes: tuple[tuple[int, int], ...] = ((80, 60),)) -> Plant:
    """A batch of ``bolt`` with an image of each size (width, height)."""
    folder = plant.batch("bolt", name)
    folder.good.mkdir(parents=True)
    images = []
    for number, (width, height) in enumerate(sizes):
        cv2.imwrite(str(folder.good / f"{number}.png"), np.full((height, width), 200, np.uint8))
        images.append(
            ImageRecord(name=f"{number}.png", source_name="x", sha256="0" * 64, bytes=1, width=width, height=height, channels=1)
        )
    folder.write_record(BatchRecord(product="bolt", batch=name, digest="0" * 64, images=tuple(images)))
    return plant


def roi(plant: Plant, *words: str) -> Any:
    return CliRunner().invoke(app, ["roi", "bolt", "--plant", str(plant.path), *words])


def no_size() -> tuple[int, int]:
    raise AssertionError("fractions need no size")


def test_polygons_as_they_are_typed() -> None:
    assert parse_polygon("--look", " 0.1,0.1  .9,0.1 0.9,0.9 ", no_size) == TRIANGLE
    assert parse_polygon("--look", "8px,6px 72px,6px 72px,54px", lambda: (80, 60)) == TRIANGLE
    assert parse_polygon("--look", polygon_text(SQUARE), no_size) == SQUARE
    mixed = parse_polygon("--look", "40px,0 1,0.5 0,15px", lambda: (80, 60))
    assert mixed == ((0.5, 0.0), (1.0, 0.5), (0.0, 0.25))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0.1,0.1 0.9", "'0.9' is not a point such as"), ("0.1;0.1 1,1 0,1", "'0.1;0.1' is not a point"), ("", "has 0 points"),
        ("0,0,0 1,1 0,1", "'0,0,0' is not a point"), ("-1,0 1,1 0,1", "'-1,0' is not a point"),
        ("0,0 1,1 2,0", "outside of 0..1"),
        ("nan,0 1,1 0,1", "is not a point"), ("0,0 1,1 1,0 0,1", "crosses or touches itself"),
        ("81px,0 0,1 1,1", "outside of 0..1"),
    ],
)  # fmt: skip
def test_what_is_no_polygon_is_refused(text: str, words: str) -> None:
    with pytest.raises(BadSettings, match=words) as refused:
        parse_polygon("--ignore", text, lambda: (80, 60))
    assert str(refused.value).startswith("--ignore: ") and "\n" not in str(refused.value)


def test_px_hold_exactly_the_pixels_that_were_typed() -> None:
    """Whatever the size: no column more or less by rounding."""
    for width in range(33, 700, 13):
        typed = "11px,7px {0}px,7px {0}px,31px 11px,31px".format(width - 3)
        found = mask_of(Region(look=(parse_polygon("--look", typed, lambda width=width: (width, 47)),)), 47, width)
        wanted = np.zeros((47, width), bool)
        wanted[7:31, 11 : width - 3] = True
        assert np.array_equal(found, wanted)


def test_every_other_line_of_the_file_stays(tmp_path: Path) -> None:
    file = tmp_path / "product.yaml"
    file.write_text("# ours\nregion:\n  # old\n  left: 0.1\n\n  top: 0.2\ngates:  # strict\n  parity: 0.01\n# end\n")
    write_setting(file, "region", {"left": 0.3}, ["region: {left: 0.3}"])
    kept = "# ours\n  # old\n\ngates:  # strict\n  parity: 0.01\n# end\n"
    assert file.read_text() == kept + "region: {left: 0.3}\n"
    write_setting(file, "region", None, [])
    assert file.read_text() == kept and read_product_file(file).region.as_region() == Region()
    for text in ('"region": {left: 0.1}\n', "{region: {left: 0.1}}\n", "evaluate: {region: {left: 0.1}}\n"):
        file.write_text(text)
        with pytest.raises(PlantError, match="cannot be changed from here; set region in it"):
            write_setting(file, "region", {"left": 0.3}, ["region: {left: 0.3}"])
        assert file.read_text() == text


def test_lists_are_set_one_by_one_and_cleared_together(plant: Plant) -> None:
    written(plant, "# ours\noverkill_target: 0.1\n", "bolt")
    assert set_region(plant, "bolt", [TRIANGLE], [], clear=False).region == Region(look=(TRIANGLE,))
    assert set_region(plant, "bolt", [], [SQUARE], clear=False).region == Region(look=(TRIANGLE,), ignore=(SQUARE,))
    found = set_region(plant, "bolt", [SQUARE, TRIANGLE], [], clear=False)
    assert found == region_of(plant, "bolt") and found.region == Region(look=(SQUARE, TRIANGLE), ignore=(SQUARE,))
    assert found.origins == ("products/bolt/product.yaml",) and found.overkill == 0.1
    assert set_region(plant, "bolt", [], [SQUARE], clear=True).region == Region(ignore=(SQUARE,))
    assert set_region(plant, "bolt", [], [], clear=True).origins == ()
    assert (plant.path / "products/bolt/product.yaml").read_text() == "# ours\noverkill_target: 0.1\n"


def test_contradictions_are_refused_and_nothing_is_written(plant: Plant) -> None:
    text = "region: {left: 0.1}\n"
    written(plant, text, "bolt")
    with pytest.raises(BadSettings, match=r"has a rectangle \(left\).*give --clear, too"):
        set_region(plant, "bolt", [TRIANGLE], [], clear=False)
    with pytest.raises(BadSettings, match="leaves nothing of an image"):
        set_region(plant, "bolt", [], [((0, 0), (1, 0), (1, 1), (0, 1))], clear=False)
    place = written(plant, "region: {top: 0.1}\n")
    with pytest.raises(BadSettings, match=r"evaluate of changeover.yaml and products/bolt/product.yaml .*leave one of them out"):
        set_region(place, "bolt", [TRIANGLE], [], clear=True)
    assert (plant.path / "products/bolt/product.yaml").read_text() == text
    written(plant, "evaluate: {region: {left: 0.1}}\n", "bolt")
    with pytest.raises(PlantError, match="has region under evaluate; move it to the left margin"):
        set_region(plant, "bolt", [], [], clear=True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("region: {look: [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9]]}", "region.look: one polygon stands where a list of"),
        ("region: {look: [[[0.1, 0.1], [0.9, 0.1]]]}", "region.look.0: polygon .* has 2 points, but needs 3"),
        ("region: {ignore: [[[0, 0], [1, 1], [1, 0], [0, 1]]]}", "region.ignore.0: polygon .* crosses or touches itself"),
        ("region: {ignore: [[[0, 0], [2, 1], [1, 0]]]}", "region.ignore.0.1.0 2: input should be less than or equal to 1"),
        ("region: {ignore: [[[0, 0, 1], [1, 1], [1, 0]]]}", r"region.ignore.0.0 \(a list of 3\): tuple should have at most 2"),
        ("region: {left: 0.1, look: [[[0, 0], [1, 1], [1, 0]]]}", "both say what is inspected; leave one of them out"),
    ],
)  # fmt: skip
def test_wrong_polygons_of_a_file_are_refused_in_one_line(plant: Plant, tmp_path: Path, text: str, words: str) -> None:
    written(plant, text, "bolt")
    with pytest.raises(PlantError, match=words) as refused:
        make_job(plant, "bolt", "b1", str(tmp_path))
    assert "\n" not in str(refused.value)


def test_only_the_section_evaluate_knows_of_it(plant: Plant, tmp_path: Path) -> None:
    plain = make_job(plant, "bolt", "b1", str(tmp_path))
    before, training = plain.params(), plain.training_digest()
    set_region(plant, "bolt", [], [SQUARE], clear=False)
    job = make_job(plant, "bolt", "b1", str(tmp_path))
    assert job.params() == before | {"evaluate": {"region": {"ignore": [[list(point) for point in SQUARE]]}}}
    assert job.training_digest() == training
    set_region(plant, "bolt", [], [], clear=True)
    assert make_job(plant, "bolt", "b1", str(tmp_path)).params() == before


def test_a_recalibration_takes_the_region_along_and_nothing_else(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    a_batch(plant)
    params = make_job(plant, "bolt", "b1", str(plant.batch("bolt", "b1").good)).params()
    params["evaluate"]["overkill_target"] = 0.1
    monkeypatch.setattr(recalibrate, "_params_of", lambda *_: json.loads(json.dumps(params)))
    version = cast(Version, SimpleNamespace(product="bolt", batch="b1", version="3", commit="0" * 40))
    assert not region_changed(plant, version)
    with pytest.raises(PlantError, match=r"was made for an overkill of 0\.1 already"):
        recalibration(plant, version, 0.1)
    set_region(plant, "bolt", [TRIANGLE], [], clear=False)
    assert region_changed(plant, version)
    job = recalibration(plant, version, 0.1)
    assert job.params()["evaluate"] == {"overkill_target": 0.1, "region": {"look": [[list(point) for point in TRIANGLE]]}}
    written(plant, "recipe: {nuisance: 0.5}\n", "bolt")
    with pytest.raises(PlantError, match="more than its threshold and region would be new"):
        recalibration(plant, version, 0.2)


def test_the_newest_batch_is_the_one_that_was_tagged_last(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    assert newest_batch(plant, "bolt") is None
    for name in ("b1", "b2", "a9"):
        a_batch(plant, name)
    tags = {"bolt/b1": ("0", 30), "bolt/b2": ("0", 20), "bolt/a9": ("0", 30), "nut/z": ("0", 99)}
    monkeypatch.setattr("flows.newest_batch.tagged_batches", lambda _: tags)
    assert cast(Any, newest_batch(plant, "bolt")).path.name == "b1"
    a_batch(plant, "a0")
    assert cast(Any, newest_batch(plant, "bolt")).path.name == "a0"  # being worked on


def test_the_command_sets_shows_and_draws(plant: Plant, tmp_path: Path) -> None:
    a_batch(plant)
    done = roi(plant, "--look", "8px,6px 72px,6px 72px,54px", "--ignore", "0.25,0.25 0.5,0.25 0.5,0.5 0.25,0.5", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    region = Region(look=(TRIANGLE,), ignore=(SQUARE,))
    assert told["region"] == json.loads(json.dumps(region.as_settings())) and told["from"] == ["products/bolt/product.yaml"]
    assert told["share"] == pytest.approx(0.32 - 0.03125, abs=2e-3) and told["image"] == "b1 0.png" and told["set"]
    picture = cv2.imread(told["picture"])
    assert picture is not None and is_overlay_file(Path(told["picture"])) and Path(told["picture"]).is_relative_to(plant.state)
    times = picture.shape[0] // 60
    assert picture.shape == (60 * times, 80 * times, 3) and times == 900 // 80
    centres = picture[times // 2 :: times, times // 2 :: times].astype(int)
    outside = ~mask_of(region, 60, 80)
    clear = cv2.erode(outside.astype(np.uint8), np.ones((7, 7))) > 0  # away from outlines; names may lie there
    assert np.median(centres[clear]) < 160 and (np.ptp(centres[clear], axis=1) > 5).mean() > 0.9
    shown = roi(plant, "--out", str(tmp_path / "check.png"))
    assert (
        shown.exit_code == 0 and "look 1\t0.1,0.1 0.9,0.1 0.9,0.9" in shown.stdout and str(tmp_path / "check.png") in shown.stdout
    )
    assert "changeover run" not in shown.output and "recalibrate bolt VERSION" in roi(plant, "--clear").output


def test_what_the_command_refuses(plant: Plant, tmp_path: Path) -> None:
    a_batch(plant, sizes=((80, 60), (90, 60)))
    by_px = ("--ignore", "8px,6px 72px,6px 72px,54px")
    for words, said in (
        (by_px, r"images of bolt b1 are of 2 sizes \(80 x 60, 90 x 60\)"),
        (("--look", "0,0 1,1"), "--look: polygon .* has 2 points"),
        (("--out", str(plant.path / "changeover.yaml"), "--clear"), "is there already and is no picture of a region"),
    ):
        done = roi(plant, *words)
        assert done.exit_code == 2 and len(done.stderr.splitlines()) == 1
        assert re.search(said, done.stderr)
    assert not (plant.path / "products/bolt/product.yaml").exists()
    plant.batch("bolt", "b1").file("good").rename(tmp_path / "away")
    gone = roi(plant, "--ignore", "0,0 0.1,0 0.1,0.1")
    assert gone.exit_code == 0 and "no picture: the images of bolt b1 are not here" in gone.stdout


@pytest.mark.parametrize(
    ("region", "told", "every"), [({"left": 0.1}, False, True), ({"left": 0.1}, True, None), (None, False, None)]
)
def test_a_rebuild_counts_defects_as_the_version_did(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, region: dict[str, float] | None, told: bool, every: bool | None
) -> None:
    """Versions of before say nothing of what lies outside of their region, and counted the defects there as escapes."""
    folder = a_batch(plant).batch("bolt", "b1")
    evaluate = {"flips": 1} | ({"region": region} if region else {})
    write_yaml(folder.file("params.yaml"), {"seed": 1, "train": {"seconds": 9}, "evaluate": evaluate})
    folder.file("study").mkdir()
    write_json(folder.file("study") / "best.json", {"params": {"detector": "stpm"}})
    monkeypatch.setattr(rebuild, "run_alone", lambda *_: None)
    outside = Outside(share=0.1, detections=0, images=0, of=2, left_out=0) if told else None
    training = Training(chosen={"detector": "stpm"})
    recorded = Metrics.model_construct(training=training, environment={}, outside=outside)
    rebuild._train_again(plant, folder, recorded, [], lambda *_: None)
    assert read_params(folder)["evaluate"].get("every_defect") is every
    ReplayedEvaluation.model_validate(read_params(folder)["evaluate"])
