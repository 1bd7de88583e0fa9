"""What the region of interest leaves out: defects that are no escapes, detections that are suppressed, on planted ones."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from core.errors import BadSettings
from core.files import write_json
from data.batch import BatchFolder
from data.stage import read_params
from data.yaml_file import write_yaml
from models.evaluate import evaluate
from models.evaluation.exam import Batch, LabelledImage
from models.evaluation.metrics_file import read_metrics
from models.evaluation.outside import detections_outside, in_view, lies_outside, measure_outside
from models.inspection.inspector import Inspector, MapPooling
from models.inspection.region import Region, mask_of
from models.report.shade import shade_path, shaded
from tests.models.test_inspector import Brightness
from tests.models.trained_batch import a_batch, trained

LOWER = ((0.0, 0.5), (1.0, 0.5), (1.0, 1.0), (0.0, 1.0))
CORNER = ((0.6, 1.0), (1.0, 0.6), (1.0, 1.0))


def test_a_label_lies_where_it_is_half_visible_or_as_strong_as_it_gets() -> None:
    seen = np.zeros((10, 10), bool)
    seen[:5] = True
    label = np.zeros((10, 10), np.float32)
    assert not lies_outside(label, seen)  # it is nowhere
    label[6:9, 3] = 1.0
    label[4, 3] = 0.4
    assert lies_outside(label, seen)
    label[4, 3] = 0.5
    assert not lies_outside(label, seen)
    faint = np.where(label == 1.0, 0.2, 0.0).astype(np.float32)
    assert lies_outside(faint, seen)
    faint[2, 2] = 0.2
    assert not lies_outside(faint, seen)


def flooded(above: NDArray[np.bool_]) -> list[set[tuple[int, int]]]:
    """Connected areas by flood fill, with 8 neighbours."""
    left = {(int(y), int(x)) for y, x in np.argwhere(above)}
    areas = []
    while left:
        todo, area = [left.pop()], set[tuple[int, int]]()
        while todo:
            y, x = todo.pop()
            area.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            todo += near
        areas.append(area)
    return areas


def test_detections_are_counted_as_by_flood_fill() -> None:
    rng = np.random.default_rng(4)
    some = 0
    for _ in range(30):
        anomaly = rng.uniform(0, 1, (24, 31)).astype(np.float32)
        seen = mask_of(Region(ignore=(CORNER,), left=0.2), 24, 31)
        wanted = sum(not any(seen[place] for place in area) for area in flooded(anomaly > 0.85))
        assert detections_outside(anomaly, 0.85, seen) == wanted
        some += wanted
    assert some > 30 and detections_outside(np.zeros((24, 31), np.float32), 0.5, seen) == 0


def with_spots(spots: list[tuple[int, int]], label: bool = False, name: str = "a") -> LabelledImage:
    """A grey picture of 40 x 60 with bright spots of 3 x 3 at these rows and columns, labelled there."""
    image, where = np.full((40, 60, 1), 90, np.uint8), np.zeros((40, 60), np.float32)
    for y, x in spots:
        image[y : y + 3, x : x + 3] = 240
        where[y : y + 3, x : x + 3] = 1.0
    return LabelledImage(name, image, where if label else None, "dent" if label else None, 0.2 if label else None)


def test_planted_spots_are_counted_where_they_lie() -> None:
    inspector = Inspector([Brightness()], 1.0, poolings=[MapPooling(1, 1, 1)], region=Region(ignore=(LOWER,))).eval()
    exams = [
        with_spots([]),
        with_spots([(4, 4)]),
        with_spots([(30, 4), (30, 40), (4, 20)]),
        with_spots([(19, 30)]),  # across the border: still seen
        with_spots([(25, 10)], label=True),
    ]
    found = measure_outside(inspector, 1.0, exams, left_out=1)
    assert (found.detections, found.images, found.of, found.left_out, found.share) == (3, 2, 5, 1, 0.5)
    assert inspector.region == Region(ignore=(LOWER,))


def test_only_exam_defects_wholly_outside_are_left_out_of_the_test_subset() -> None:
    spots = {"out": [(30, 10)], "both": [(30, 10), (4, 10)], "across": [(19, 30)], "inside": [(4, 10)]}
    defects = [with_spots(places, True, name) for name, places in spots.items()]
    batch = Batch({"test": [with_spots([])]}, {"test": defects, "tune": defects})
    found = in_view(batch, Region(look=(((0.0, 0.0), (1.0, 0.0), (1.0, 0.5), (0.0, 0.5)),)))
    assert [one.name for one in found.left_out] == ["out"]
    assert [one.name for one in found.batch.defects["test"]] == ["both", "across", "inside"]
    assert found.batch.defects["tune"] == defects and found.batch.good == batch.good
    assert in_view(batch, Region()).batch is batch
    alone = replace(batch, defects={"test": defects[:1]})
    with pytest.raises(BadSettings, match="all 1 exam defects of the test images lie outside"):
        in_view(alone, Region(ignore=(LOWER,)))
    with pytest.raises(BadSettings, match=r"holds no pixel of 'a' \(60 x 40 px\)"):
        in_view(batch, Region(left=0.501, right=0.504))


def test_shades_show_what_is_outside() -> None:
    outside = ~mask_of(Region(ignore=(CORNER,), top=0.25), 60, 80)
    picture = np.full((60, 80, 3), 255, np.uint8)
    assert np.array_equal((shaded(picture, outside) != 255).any(axis=2), outside) and shaded(picture, None) is picture
    path = shade_path(outside)
    assert path.count("M") == path.count("Z") == 2 and shade_path(None) == shade_path(np.zeros((4, 4), bool)) == ""
    # The path's area, by its own numbers: half a pixel less all around, at most.
    total = 0.0
    for ring in path.removesuffix("Z").split("Z"):
        points = np.array([list(map(float, point.split())) for point in ring.removeprefix("M").split("L")])
        following = np.roll(points, -1, axis=0)
        total += abs(float((points[:, 0] * following[:, 1] - following[:, 0] * points[:, 1]).sum())) / 2
    assert total == pytest.approx(outside.sum(), rel=0.06)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> BatchFolder:
    """A trained batch, ready for the stage ``evaluate``."""
    path = tmp_path_factory.mktemp("outside")
    folder = trained(a_batch(path / "pattern"), path / "batch", [1])
    image = {"name": "000.png", "source_name": "0", "sha256": "0" * 64, "bytes": 1, "width": 96, "height": 64, "channels": 1}
    write_yaml(folder.file("batch.yaml"), {"product": "bolt", "batch": "a", "digest": "0" * 64, "images": [image]})
    (folder.path / "champion").mkdir()
    write_json(folder.path / "champion" / "champion.json", {"version": None})
    write_json(folder.file("study") / "trials.json", [])
    write_json(folder.file("validation.json"), {"passed": True, "checks": [], "facts": [], "summary": {}})
    return folder


def evaluated(folder: BatchFolder, section: dict[str, Any]) -> tuple[dict[str, Any], str]:
    params = read_params(folder)
    write_yaml(folder.file("params.yaml"), params | {"evaluate": section})
    evaluate(folder)
    report = folder.file("report")
    return json.loads((report / "metrics.json").read_text()), (report / "report.html").read_text()


def test_the_stage_leaves_out_what_nobody_looks_at_and_says_so(measured: BatchFolder, capsys: pytest.CaptureFixture[str]) -> None:
    plain, page = evaluated(measured, {})
    assert "outside" not in plain and 'id="outside"' not in page and "layer-shade" not in page
    assert plain["settings"]["region"] == {"left": 0.0, "top": 0.0, "right": 1.0, "bottom": 1.0}
    capsys.readouterr()
    section = {"region": {"ignore": [[list(point) for point in LOWER]]}}
    masked, page = evaluated(measured, section)
    found = read_metrics(json.dumps(masked)).outside
    assert found is not None and found.share == 0.5 and 0 < found.left_out < plain["escape"]["n"]
    assert masked["escape"]["n"] == plain["escape"]["n"] - found.left_out == len(masked["scores"]["defects"])
    assert found.of == plain["escape"]["n"] + len(masked["scores"]["test"])
    assert masked["settings"]["region"]["ignore"] == section["region"]["ignore"]
    assert f"{found.left_out} exam defects outside of the region not counted" in capsys.readouterr().out
    assert "not inspected and shaded in the pictures" in page and 'class="layer-shade"' in page
    parity = next(gate for gate in masked["gates"] if gate["name"] == "export parity")
    assert parity["passed"]
    # As a rebuild of a version that was made before: every defect counts.
    before, _ = evaluated(measured, section | {"every_defect": True})
    assert before["escape"]["n"] == plain["escape"]["n"] and "outside" not in before
