"""A product's templates: what is read, what is refused, and that they go with the batch."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from core.errors import BadBatch
from data.batch import BatchFolder
from data.defects.library import batch_templates, lay_library, read_library
from data.templates import read_templates, template_files


def picture(folder: Path, name: str, size: tuple[int, int] = (64, 96), value: int = 90) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / name), np.full(size, value, np.uint8))
    return folder / name


def cutout(folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[2:6, 2:6] = 255
    cv2.imwrite(str(folder / name), pixels)


def test_templates_go_with_the_batch_beside_its_cut_outs(tmp_path: Path) -> None:
    picture(tmp_path / "templates", "a.png", value=90)
    picture(tmp_path / "templates", "b.png", value=120)
    (tmp_path / "templates" / "readme.txt").write_text("from the drawing office")
    cutout(tmp_path / "library", "scratch.png")
    folder = BatchFolder(tmp_path / "batch")
    lay_library(tmp_path / "library", folder.file("library"), tmp_path / "templates")
    assert [int(image[0, 0, 0]) for image in batch_templates(folder, 1)] == [90, 120]
    assert len(read_library(folder.file("library"), 1)) == 1
    picture(tmp_path / "templates", "c.png")  # what comes later is not of this batch
    lay_library(tmp_path / "library", folder.file("library"), tmp_path / "templates")
    assert len(batch_templates(folder, 1)) == 2


def test_without_templates_the_library_is_what_it_was(tmp_path: Path) -> None:
    """Byte for byte: a batch of before is not trained again."""
    cutout(tmp_path / "library", "scratch.png")
    lay_library(tmp_path / "library", tmp_path / "one")
    lay_library(tmp_path / "library", tmp_path / "two", tmp_path / "templates")
    assert (tmp_path / "one" / "index.json").read_bytes() == (tmp_path / "two" / "index.json").read_bytes()
    assert batch_templates(BatchFolder(tmp_path / "none"), 1) == ()


def test_cut_outs_in_a_folder_of_that_name_stay_cut_outs_where_there_are_no_templates(tmp_path: Path) -> None:
    cutout(tmp_path / "library" / "templates", "scratch.png")
    folder = BatchFolder(tmp_path / "batch")
    lay_library(tmp_path / "library", folder.file("library"), tmp_path / "templates")
    assert len(read_library(folder.file("library"), 1)) == 1 and batch_templates(folder, 1) == ()
    picture(tmp_path / "templates", "a.png")
    with pytest.raises(BadBatch, match="rename the folder of cut-outs"):
        lay_library(tmp_path / "library", tmp_path / "other", tmp_path / "templates")


def test_pictures_of_several_sizes_are_refused(tmp_path: Path) -> None:
    picture(tmp_path, "a.png")
    picture(tmp_path, "b.png", (64, 97))
    with pytest.raises(BadBatch, match=r"'b.png' in .* is 97 × 64 px, and others are 96 × 64 px"):
        read_templates(tmp_path, 1)


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    picture(tmp_path, "a.png")
    (tmp_path / "b.svg").write_text("<svg/>")
    with pytest.raises(BadBatch, match=r"'b.svg' in .* is no picture"):
        template_files(tmp_path)
    (tmp_path / "b.svg").unlink()
    (tmp_path / "b.png").write_bytes(b"not a picture")
    with pytest.raises(BadBatch, match=r"template 'b.png' in .* cannot be read"):
        read_templates(tmp_path, 1)


def test_more_than_are_used_are_refused(tmp_path: Path) -> None:
    for number in range(17):
        picture(tmp_path, f"{number:02}.png")
    with pytest.raises(BadBatch, match="holds 17 templates; at most 16"):
        template_files(tmp_path)


def test_colour_and_grey_are_brought_to_what_the_batch_has(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.dstack([np.full((64, 64), v, np.uint8) for v in (30, 60, 90)]))
    # As the batch's own images are read, by their brightness: .299 · 90 + .587 · 60 + .114 · 30.
    assert read_templates(tmp_path, 1)[0].shape == (64, 64, 1) and int(read_templates(tmp_path, 1)[0][0, 0, 0]) == 66
    assert read_templates(tmp_path, 3)[0][0, 0].tolist() == [90, 60, 30]
