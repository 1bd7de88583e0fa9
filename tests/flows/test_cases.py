"""Every awkward file of the shared makers through ingest, validate and inspect, with the right answer for each."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from core.errors import BadBatch
from data.batch import BatchFolder, BatchRecord
from data.benchmark_set import read_set
from data.image import read_image
from data.ingest import ingest
from data.validate import validate
from data.yaml_file import write_yaml
from flows.inspect import Row, find_images, inspect
from tests.flows.tiny_inspector import tiny_inspector

MAKERS = Path(__file__).parents[3] / "shared" / "cases" / "inputs.py"
pytestmark = pytest.mark.skipif(
    not MAKERS.exists(), reason="no makers of awkward files beside the repository (shared/cases/inputs.py)"
)


@pytest.fixture(scope="module")
def makers() -> ModuleType:
    found = importlib.util.spec_from_file_location("inputs", MAKERS)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


REFUSED = {
    "raw.dng": "camera's raw file", "rgb_nir.tif": "4 channels", "five.tif": "5 channels", "packed12.tif": "12 bits",
    "half_eoi.jpg": "damaged", "half_plain.jpg": "damaged", "damaged.jpg": "damaged", "trns.png": "transparent pixels",
    "bgra_zero.bmp": "transparent pixels", "half_written.bmp": "rows are all of one level",
}  # fmt: skip
"""Files of ``SINGLE`` that are not taken, with the word for it."""
IN_COLOUR = {"planar.tif", "top_down.bmp", "bgrx_zero.bmp", "tinted.jpg"}
TURNED = {"oriented.tif"}
ABOUT = {"blank_exif.jpg": 12, "double_exif.jpg": 12}
"""How far, in levels, the pixels may be from what was saved: nothing where they were saved without loss."""


def take(source: Path, folder: BatchFolder) -> tuple[BatchRecord, dict[str, Any]]:
    """Ingest and validate; the record and ``validation.json``. BadBatch if either refuses."""
    record = ingest(source, folder, "bolt", folder.path.name)
    write_yaml(folder.file("params.yaml"), {"seed": 1})
    folder.file("history.json").write_text('{"batches": {}}')
    validate(folder)
    return record, json.loads(folder.file("validation.json").read_text())


def warnings(findings: dict[str, Any]) -> dict[str, list[str]]:
    return {check["name"]: check["images"] for check in findings["checks"] if not check["passed"]}


def looked_at(model: Path, place: Path) -> dict[str, Row]:
    found = find_images([place])
    return {Path(row.image).name: row for row in (*found.rows, *inspect(model, found.files))}


def test_single_files(makers: ModuleType, tmp_path: Path) -> None:
    made = {kind: makers.deliver(tmp_path / kind, 12, channels=channels) for kind, channels in (("grey", 1), ("colour", 3))}
    for name, make in makers.SINGLE.items():
        make(made["colour" if name in IN_COLOUR else "grey"] / name)
    rows: dict[str, Row] = {}
    rejected: dict[str, str] = {}
    for kind, channels in (("grey", 1), ("colour", 3)):
        record, findings = take(made[kind], BatchFolder.of(tmp_path / "plant", "bolt", kind))
        assert findings["passed"] and {image.channels for image in record.images} == {channels}
        rejected |= {rejection.source_name: rejection.reason for rejection in record.rejected}
        assert warnings(findings).get("orientation", []) == [i.name for i in record.images if i.source_name in TURNED]
        rows |= looked_at(tiny_inspector(tmp_path / f"{kind}.onnx", channels), made[kind])
    assert sorted(rejected) == sorted(REFUSED), "each is listed with its reason, and nothing else is"
    for name, word in REFUSED.items():
        assert word in rejected[name], name
        assert rows[name].verdict in {"error", "reject"} and word in rows[name].reason, name
    for name in makers.SINGLE.keys() - REFUSED.keys():
        assert rows[name].verdict == "pass" and rows[name].reason == "", name
        if name == "tinted.jpg":
            continue
        right = makers.part(0, channels=3 if name in IN_COLOUR else 1).reshape(160, 200, -1)
        right = np.rot90(right, -1) if name in TURNED else right
        pixels = read_image(made["colour" if name in IN_COLOUR else "grey"] / name)
        assert np.abs(pixels.astype(int) - right).max() <= ABOUT.get(name, 0), name


@pytest.mark.parametrize(
    ("maker", "settings", "channels", "named"),
    [
        ("make_blank_sheets", {"count": 16, "side": 512}, 1, None),
        ("make_tiny_parts", {"count": 16, "side": 512}, 1, None),
        ("make_dark_field", {"count": 16, "side": 512}, 1, None),
        ("make_neutral_parts", {"count": 16}, 3, None),
        ("make_neutral_parts", {"count": 16, "dotted": lambda n: n == 3}, 3, None),
        ("make_neutral_parts", {"count": 16, "dotted": lambda n: False}, 1, None),
        ("make_turned_by_exif", {"count": 16}, 1, "orientation"),
    ],
)
def test_deliveries(
    makers: ModuleType, tmp_path: Path, maker: str, settings: dict[str, Any], channels: int, named: str | None
) -> None:
    source = getattr(makers, maker)(tmp_path / "d", **settings)
    folder = BatchFolder.of(tmp_path / "plant", "bolt", "a")
    record, findings = take(source, folder)
    assert len(record.images) == 16 and record.rejected == () and {image.channels for image in record.images} == {channels}
    assert findings["passed"] and {fact["channels"] for fact in findings["facts"]} == {channels}
    found = warnings(findings)
    assert len(found.pop("orientation", [])) == (3 if named == "orientation" else 0)
    rows = looked_at(tiny_inspector(tmp_path / "model.onnx", channels), source)
    assert len(rows) == 16 and {row.verdict for row in rows.values()} <= {"pass", "reject"}


def test_a_mark_on_a_neutral_part_is_a_reject_where_no_good_image_had_one(makers: ModuleType, tmp_path: Path) -> None:
    source = makers.make_neutral_parts(tmp_path / "d", count=4)
    rows = looked_at(tiny_inspector(tmp_path / "model.onnx", 1), source)
    assert {name: row.verdict for name, row in rows.items()} == {
        f"p{n:03d}.jpg": "reject" if n % 2 else "pass" for n in range(4)
    }  # fmt: skip


def test_tinted_metal_is_in_colour_however_few_show_it(makers: ModuleType, tmp_path: Path) -> None:
    for n in range(16):
        makers.make_tinted_metal(_in(tmp_path / "d", f"t{n}.jpg"), seed=n, tint=3 if n % 4 == 0 else 1, quality=60)
    record, findings = take(tmp_path / "d", BatchFolder.of(tmp_path / "plant", "bolt", "a"))
    assert len(record.images) == 16 and findings["passed"] and {image.channels for image in record.images} == {3}
    for channels in (1, 3):
        rows = looked_at(tiny_inspector(tmp_path / f"{channels}.onnx", channels), tmp_path / "d")
        assert {row.verdict for row in rows.values()} == {"pass"}


def test_tables_of_groups(makers: ModuleType, tmp_path: Path) -> None:
    for number, (case, (name, content)) in enumerate(makers.GROUPS.items()):
        source = makers.deliver(tmp_path / f"d{number}", 16)
        _in(source, name).write_text(content, encoding="utf-8", newline="")
        folder = BatchFolder.of(tmp_path / "plant", "bolt", f"b{number}")
        if case in {"in a subfolder", "no group"}:
            with pytest.raises(BadBatch, match=r"subfolder|group"):
                ingest(source, folder, "bolt", folder.path.name)
            continue
        record = ingest(source, folder, "bolt", folder.path.name)
        assert len(record.images) == 16 and record.rejected == (), case
        for image in record.images:
            assert image.group == str(int(image.source_name.removeprefix("part_").removesuffix(".png")) // 4), case


def test_masks(makers: ModuleType, tmp_path: Path) -> None:
    right = np.zeros((160, 200), np.float32)
    right[40:80, 50:90] = 1
    for number, mask in enumerate([lambda m: m, *makers.MASKS.values()]):
        for image in read_set(makers.make_benchmark(tmp_path / f"s{number}", mask=mask)).test:
            label = image.read(1)[1]
            np.testing.assert_array_equal(label, right if image.kind else 0 * right)


def _in(folder: Path, name: str) -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    return folder / name
