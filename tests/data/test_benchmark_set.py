"""The layout of benchmark sets, and what is wrong with others."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from data.benchmark_set import find_sets, read_set
from data.errors import BadBatch, BadImage


def make_set(folder: Path, lines: str = "") -> Path:
    for name in ("good/a.png", "good/b.png", "defect/crack/a.png", "mask/crack/a.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.full((40, 50), 255 if "mask" in name else 90, np.uint8))
    (folder / "split.csv").write_text(
        "file,split,group\ngood/a.png,train,part-1\ngood/b.png,test,\ndefect/crack/a.png,test,\n" + lines
    )
    return folder


def test_a_set_is_read_with_groups_kinds_and_masks(tmp_path: Path) -> None:
    found = read_set(make_set(tmp_path / "bolt"))
    assert found.name == "bolt" and [(f.name, g) for f, g in found.train] == [("a.png", "part-1")]
    good, bad = found.test
    assert good.kind is None and bad.kind == "crack"
    assert not good.read(1)[1].any() and bad.read(1)[1].min() == 1.0
    assert bad.read(1)[0].shape == (40, 50, 1) and bad.read(3)[0].shape == (40, 50, 3)
    cv2.imwrite(str(good.file), np.full((40, 50, 3), 77, np.uint8))  # grey, saved in colour
    assert good.read(1)[0].shape == (40, 50, 1) and set(np.unique(good.read(1)[0])) == {77}
    assert find_sets(tmp_path) == [tmp_path / "bolt"] and find_sets(tmp_path / "bolt") == [tmp_path / "bolt"]


@pytest.mark.parametrize(
    "line",
    ["../a.png,train,", "good/a.png,validate,", "good/x/a.png,train,", "defect/a.png,test,", "good/missing.png,train,", "x"],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str) -> None:
    with pytest.raises(BadBatch, match="line 5"):
        read_set(make_set(tmp_path / "bolt", line + "\n"))


def test_folders_without_a_list_and_lists_that_are_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadBatch, match="is not a folder"):
        find_sets(tmp_path / "nowhere")
    with pytest.raises(BadBatch, match=r"no product in .* has a split\.csv"):
        find_sets(tmp_path)
    (make_set(tmp_path / "bolt") / "split.csv").write_bytes(b"\xff\xfe\x00rubbish")
    with pytest.raises(BadBatch, match="UTF-8"):
        read_set(tmp_path / "bolt")


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    folder = make_set(tmp_path / "bolt")
    cv2.imwrite(str(folder / "mask/crack/a.png"), np.zeros((5, 5), np.uint8))
    with pytest.raises(BadImage, match="size"):
        read_set(folder).test[1].read(1)
