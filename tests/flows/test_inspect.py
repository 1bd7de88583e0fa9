"""What ``inspect`` looks at, what it leaves, and that it writes over nothing."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from core.errors import BadImage, BadSettings
from data.overlay_mark import is_overlay_file
from data.sample.pictures import render_good
from flows.cli import app
from flows.inspect import Row, find_images, inspect
from models.detectors.aligned_statistics import AlignedStatistics
from models.detectors.detector import Whole
from models.inspection.export import export, set_threshold
from models.inspection.inspector import MARGIN, Inspector
from tests.flows.tiny_inspector import tiny_inspector
from tests.models.detector_tests import good_image
from tests.models.moved_part import moved, seen


def picture(number: int = 0, channels: int = 3) -> np.ndarray:
    """Neither black nor white anywhere: uint8 (64, 80) or (64, 80, 3), of any colour."""
    shape = (64, 80) if channels == 1 else (64, 80, channels)
    return np.random.default_rng([9, number]).integers(40, 200, shape, dtype=np.uint8)


def save(path: Path, array: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


@pytest.fixture
def grey_model(tmp_path: Path) -> Path:
    return tiny_inspector(tmp_path / "grey.onnx", 1)


@pytest.fixture
def colour_model(tmp_path: Path) -> Path:
    return tiny_inspector(tmp_path / "colour.onnx", 3)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Folder ``d`` with two good images."""
    for number in range(2):
        save(tmp_path / "d" / f"p{number}.png", picture(number, 1))
    return tmp_path / "d"


def digests(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file()
    }


def look(model: Path, *places: Path, out: Path | None = None) -> dict[str, Row]:
    """Rows by file name, as the command shows them."""
    found = find_images(places, out)
    return {Path(row.image).name: row for row in (*found.rows, *inspect(model, found.files, out))}


@pytest.mark.parametrize("spelling", ["d", "./d/", "d/../d", "link", "absolute"])
def test_overlays_are_not_written_among_the_images(
    images: Path, grey_model: Path, monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    monkeypatch.chdir(images.parent)
    Path("link").symlink_to("d")
    out, before = images if spelling == "absolute" else Path(spelling), digests(images)
    for place in (Path("d"), Path("link"), images / "p0.png", Path("d/p1.png")):
        with pytest.raises(BadSettings, match=r"holds the images of .* name a folder of its own"):
            look(grey_model, place, out=out)
    assert digests(images) == before


@pytest.mark.parametrize("name", ["overlays", "sub/deep"])
def test_overlays_below_the_images_are_not_inspected_later(images: Path, grey_model: Path, name: str) -> None:
    out = images / name
    first = look(grey_model, images, out=out)
    assert sorted(first) == ["p0.png", "p1.png"] and all(Path(row.overlay or "").exists() for row in first.values())
    again = look(grey_model, images, out=out)
    assert {row.verdict for row in again.values()} == {"pass", "skipped"} and again["p0.png"].overlay
    assert len(list(out.iterdir())) == 2
    for later in (look(grey_model, images), look(grey_model, images, out=images.parent / "elsewhere")):
        assert sorted(row.image for row in later.values() if row.verdict == "pass") == [
            str(images / f"p{n}.png") for n in range(2)
        ]


def test_nothing_but_an_overlay_is_written_over(images: Path, grey_model: Path) -> None:
    own = save(images.parent / "mine" / "p1.png", picture(5))
    before = own.read_bytes()
    with pytest.raises(BadSettings, match=r"p1.png' is there already.*not written over"):
        look(grey_model, images, out=own.parent)
    assert own.read_bytes() == before and [file.name for file in own.parent.iterdir()] == ["p1.png"], "refused before the first"
    own.unlink()
    own.symlink_to(images / "p1.png")
    with pytest.raises(BadSettings, match="not written over"):
        look(grey_model, images, out=own.parent)


def test_a_folder_of_images_is_no_place_for_overlays(images: Path, grey_model: Path) -> None:
    save(images / "more" / "q.png", picture(5, 1))
    with pytest.raises(BadSettings, match=r"holds other files than overlays \('q.png'\), which would not be inspected"):
        look(grey_model, images, out=images / "more")
    with pytest.raises(BadSettings, match="is a file"):
        look(grey_model, images, out=images / "p0.png")


def test_images_of_one_name_get_overlays_of_their_own(tmp_path: Path, grey_model: Path) -> None:
    for name in ("a/p.png", "b/p.png", "c/P.bmp", "c/p.jpg"):
        save(tmp_path / "d" / name, picture(1, 1))
    save(tmp_path / "d" / f"{'x' * 240}.png", picture(2, 1))
    found = find_images([tmp_path / "d"])
    rows = list(inspect(grey_model, found.files, tmp_path / "out"))
    names = [Path(row.overlay or "").name for row in rows]
    assert len({name.lower() for name in names}) == 5 == len(list((tmp_path / "out").iterdir()))
    assert all(is_overlay_file(tmp_path / "out" / name) for name in names)


def test_images_are_told_by_their_content_and_the_rest_is_named(images: Path, grey_model: Path) -> None:
    for name, kind in (("a.jfif", "JPEG"), ("b.jpe", "JPEG"), ("noending", "PNG"), ("wrong.txt", "PNG"), ("e.dat", "TIFF")):
        save(images / "sub" / name, picture(3, 1), format=kind)
    save(images / "._x.png", picture(3, 1))
    save(images / ".trash" / "t.png", picture(3, 1))
    (images / "broken.png").symlink_to("nothing")
    (images / "bad.png").write_bytes(b"no image")
    (images / "empty").write_bytes(b"")
    (images / "zeros").write_bytes(bytes(4000))
    (images / "photo.jp2").write_bytes(b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(90))
    (images / "notes.txt").write_text("second shift")
    (images / "Thumbs.db").write_bytes(bytes(500))
    (images / "README").write_text("who took these")
    (images / "link").symlink_to(images.parent)
    rows = look(grey_model, images)
    verdicts = {name: row.verdict for name, row in rows.items()}
    assert verdicts == {
        **dict.fromkeys(["p0.png", "p1.png", "a.jfif", "b.jpe", "noending", "wrong.txt", "e.dat"], "pass"),
        **dict.fromkeys(["broken.png", "bad.png", "empty", "zeros", "photo.jp2", "link"], "error"),
        **dict.fromkeys(["._x.png", ".trash", "notes.txt", "Thumbs.db", "README"], "skipped"),
    }
    assert all(row.reason for row in rows.values() if row.verdict != "pass")
    assert "JPEG 2000" in rows["photo.jp2"].reason


def test_pipes_are_not_waited_for(images: Path, grey_model: Path) -> None:
    os.mkfifo(images / "pipe")
    os.mkfifo(images / "pipe.png")
    rows = look(grey_model, images)
    assert {name: rows[name].verdict for name in ("pipe", "pipe.png", "p0.png")} == {
        "pipe": "error", "pipe.png": "error", "p0.png": "pass",
    }  # fmt: skip
    os.mkfifo(images.parent / "p0.png")
    with pytest.raises(BadSettings, match="not written over"):
        look(grey_model, images, out=images.parent)


def test_what_a_shell_makes_of_a_star_leaves_overlays_out(images: Path, grey_model: Path) -> None:
    for _ in range(2):
        rows = look(grey_model, *sorted(images.iterdir()), out=images / "overlays")
    assert sorted(row.verdict for row in rows.values()) == ["pass", "pass"]


def test_a_folder_without_images_is_said(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "notes.txt").write_text("nothing here")
    with pytest.raises(BadImage, match=r"no images in .*\(1 other files were skipped\)"):
        find_images([tmp_path / "d"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_an_error(images: Path, grey_model: Path) -> None:
    (images / "shut").mkdir(mode=0)
    (images / "shut").chmod(0)
    try:
        rows = look(grey_model, images)
        assert rows["shut"].verdict == "error" and "Permission denied" in rows["shut"].reason
        assert find_images([images / "shut" / "x.png"]).files
        assert look(grey_model, images / "shut" / "x.png")["x.png"].verdict == "error"
    finally:
        (images / "shut").chmod(0o700)


def test_a_folder_that_cannot_be_read_is_an_error(images: Path, grey_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (images / "shut").mkdir()
    real = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert look(grey_model, images)["shut"].reason == "folder cannot be read (Permission denied)"


def test_a_model_of_colour_is_shown_grey_pictures_in_three_channels(images: Path, colour_model: Path, grey_model: Path) -> None:
    in_colour, in_grey = (look(model, images)["p0.png"] for model in (colour_model, grey_model))
    assert in_colour.verdict == in_grey.verdict == "pass" and in_colour.score == pytest.approx(in_grey.score)


def neutral(tint: int = 0) -> np.ndarray:
    grey = picture(4, 1).astype(int)
    return np.stack([grey + tint, grey, grey - tint], 2).clip(0, 255).astype(np.uint8)


def test_colour_on_a_part_without_any_is_a_reject(tmp_path: Path, grey_model: Path) -> None:
    spot = neutral()
    spot[30:42, 50:62] = (60, 110, 190)  # of the brightness of its ground
    save(tmp_path / "d" / "spot.png", spot)
    save(tmp_path / "d" / "clean.png", neutral())
    save(tmp_path / "d" / "tint.png", neutral(5))
    dust = neutral()
    dust[10, 10] = dust[20, 70] = (60, 110, 190)
    save(tmp_path / "d" / "dust.png", dust)
    save(tmp_path / "d" / "spot.jpg", np.asarray(Image.fromarray(spot)), quality=85)
    rows = look(grey_model, tmp_path / "d", out=tmp_path / "out")
    assert {name: row.verdict for name, row in rows.items()} == {
        "spot.png": "reject", "spot.jpg": "reject", "clean.png": "pass", "tint.png": "pass", "dust.png": "pass",
    }  # fmt: skip
    assert "coloured at 5" in rows["spot.png"].reason and "the good images had no colour" in rows["spot.png"].reason
    overlay = np.asarray(Image.open(rows["spot.png"].overlay or "")).astype(int)
    clean = np.asarray(Image.open(rows["clean.png"].overlay or "")).astype(int)
    assert np.abs(overlay - clean)[32:40, 52:60].mean() > 3 * np.abs(overlay - clean)[:20].mean() + 20, "the spot is painted"


def test_a_picture_in_colour_all_over_is_an_error(tmp_path: Path, grey_model: Path) -> None:
    save(tmp_path / "d" / "other.png", np.dstack([picture(4, 1), picture(4, 1) // 2, picture(4, 1) // 3]))
    row = look(grey_model, tmp_path / "d")["other.png"]
    assert row.verdict == "error" and row.reason.startswith("'other.png' is in colour all over")


def test_rows_that_were_never_written_are_remarked(tmp_path: Path, grey_model: Path) -> None:
    cut = picture(4, 1)
    cut[40:] = 0
    row = look(grey_model, save(tmp_path / "cut.tif", cut))["cut.tif"]
    assert row.verdict == "reject" and "last 24 of 64 rows" in row.reason


def test_what_is_not_judged_is_neither_passed_nor_scored(tmp_path: Path) -> None:
    model = tiny_inspector(tmp_path / "declining.onnx", 1, declines=True)
    levels = {"dark": 90, "bright": 180, "spotted": 90, "bright-spotted": 180}
    for name, level in levels.items():
        pixels = np.full((64, 80), level, np.uint8)
        if "spotted" in name:
            pixels[10, 20] = 255
        save(tmp_path / "d" / f"{name}.png", pixels)
    rows = look(model, tmp_path / "d", out=tmp_path / "overlays")
    verdicts = {name: rows[f"{name}.png"].verdict for name in levels}
    assert verdicts == {"dark": "pass", "bright": "not judged", "spotted": "reject", "bright-spotted": "not judged"}
    for name in ("bright", "bright-spotted"):
        row = rows[f"{name}.png"]
        assert row.score is None and row.reason.startswith("the part was not found") and Path(row.overlay or "").exists()


def test_a_part_out_of_reach_and_another_product_are_not_judged(tmp_path: Path) -> None:
    """A model whose only detector compares with a template, at a threshold that passes every score."""
    good = [render_good(number, 1) for number in range(8)]
    detector = AlignedStatistics(1).eval()
    rows, columns = (slice(MARGIN, MARGIN + side) for side in good[0].shape[:2])
    detector.build_memory_bank((Whole(seen(one), rows, columns) for one in good), len(good))
    told = {"product": "plate", "batch": "a", "detector": "aligned_statistics", "threshold": "1e6", "pixel_threshold": "1e6"}
    model = tmp_path / "model.onnx"
    export(Inspector([detector], 1.0).eval(), model, 1, told)
    set_threshold(model, 1e6, 1e6)
    part = render_good(40, 1)
    beyond = np.full_like(part, int(np.median(part[:4])))
    beyond[:, 120:] = part[:, :136]
    pictures = {"part": part, "shifted": moved(part, (6.0, -4.0), 1.5)[0], "beyond": beyond, "other": good_image(3)}
    for name, pixels in pictures.items():
        save(tmp_path / "d" / f"{name}.png", pixels[..., 0])
    found = {name: look(model, tmp_path / "d")[f"{name}.png"].verdict for name in pictures}
    assert found == {"part": "pass", "shifted": "pass", "beyond": "not judged", "other": "not judged"}


def with_line_model(model: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arguments of the command line for ``model``, laid where the line has it."""
    found = type("Found", (), {"version": "1", "model": model.read_bytes()})
    monkeypatch.setattr("flows.inspect.read_published", lambda *_: found)
    monkeypatch.setattr("flows.inspect.PublicKey.read", lambda *_: None)
    return ["--product", "bolt", "--published", str(model.parent), "--publisher", str(model)]


def test_the_command_counts_what_is_not_judged_and_ends_as_with_rejects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, level in (("dark", 90), ("bright", 180), ("black", 0)):
        save(tmp_path / "d" / f"{name}.png", np.full((64, 80), level, np.uint8))
    line = ["inspect", str(tmp_path / "d"), *with_line_model(tiny_inspector(tmp_path / "m.onnx", 1, declines=True), monkeypatch)]
    shown = CliRunner().invoke(app, line)
    assert shown.exit_code == 0 and "1 pass, 1 reject, 1 not judged, 0 could not be inspected" in shown.stderr
    cells = {Path(row.split("\t")[0]).name: row.split("\t")[1:] for row in shown.stdout.splitlines()[1:]}
    assert cells["bright.png"][:2] == ["not judged", ""] and cells["black.png"][0] == "reject"
    rows = json.loads(CliRunner().invoke(app, [*line, "--json"]).stdout)["images"]
    assert {Path(row["image"]).stem: row["verdict"] for row in rows} == {
        "dark": "pass", "bright": "not judged", "black": "reject",
    }  # fmt: skip


def test_the_command_counts_names_and_exits(images: Path, grey_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line around it, with the model laid where the line has it."""
    line = ["inspect", str(images), *with_line_model(grey_model, monkeypatch)]
    (images / "notes.txt").write_text("second shift")
    good = CliRunner().invoke(app, line)
    assert good.exit_code == 0, good.output
    assert (
        "2 pass, 0 reject, 0 could not be inspected" in good.stderr and "skipped 1" in good.stderr and "notes.txt" in good.stderr
    )
    (images / "broken.png").symlink_to("nothing")
    bad = CliRunner().invoke(app, [*line, "--json", "--out", str(images / "overlays")])
    assert bad.exit_code == 1
    rows = json.loads(bad.stdout)["images"]
    assert sorted(row["verdict"] for row in rows) == ["error", "pass", "pass", "skipped"]
    assert CliRunner().invoke(app, [*line, "--out", str(images)]).exit_code != 0
