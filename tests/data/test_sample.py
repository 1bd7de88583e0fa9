"""The rendered product: deterministic, varied, with defects that are where the mask says."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from core.errors import ChangeoverError
from data.sample.geometry import SIZE
from data.sample.pictures import KINDS, render_defect, render_good, write_sample


def test_good_plates_are_reproducible_and_differ() -> None:
    plates = [render_good(number, 5) for number in range(8)]
    for number, plate in enumerate(plates):
        assert plate.dtype == np.uint8 and plate.shape == (SIZE, SIZE, 1)
        np.testing.assert_array_equal(plate, render_good(number, 5))
        assert 80 < plate.mean() < 130 and (plate >= 250).mean() < 0.01
    differences = [np.abs(plates[0].astype(int) - plate).mean() for plate in plates[1:]]
    assert min(differences) > 3
    assert not np.array_equal(plates[0], render_good(0, 6))


@pytest.mark.parametrize("index", range(25))
def test_defects_are_visible_inside_the_mask_and_nowhere_else(index: int) -> None:
    image, mask, kind = render_defect(index, 5)
    again, mask_again, kind_again = render_defect(index, 5)
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(mask, mask_again)
    assert kind == kind_again == KINDS[index % len(KINDS)]
    assert image.dtype == mask.dtype == np.uint8 and image.shape == (SIZE, SIZE, 1) and mask.shape == (SIZE, SIZE)
    assert set(np.unique(mask)) == {0, 255}
    share = (mask > 0).mean()
    assert 25 / SIZE**2 <= share < 0.1


def test_a_scratch_has_a_bright_and_a_dark_flank() -> None:
    image, mask, kind = render_defect(0, 5)
    assert kind == "scratch"
    around = cv2.dilate(mask, np.ones((15, 15), np.uint8)) > mask
    background = np.median(image[:, :, 0][around])
    inside = image[:, :, 0][mask > 0].astype(float) - background
    assert inside.max() > 15 and inside.min() < -15


def test_write_sample(tmp_path: Path) -> None:
    target = tmp_path / "plate"
    write_sample(target, 8, 5, 3)
    with (target / "split.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 13 and set(rows[0]) == {"file", "split", "group"}
    assert [row["split"] for row in rows] == ["train"] * 6 + ["test"] * 7
    assert len({row["group"] for row in rows}) == 13
    for number, row in enumerate(rows):
        read = cv2.imread(str(target / row["file"]), cv2.IMREAD_UNCHANGED)
        expected = render_good(number, 3) if number < 8 else render_defect(number - 8, 3)[0]
        np.testing.assert_array_equal(read, expected[:, :, 0])
        if row["file"].startswith("defect/"):
            mask = cv2.imread(str(target / row["file"].replace("defect/", "mask/")), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(mask, render_defect(number - 8, 3)[1])
    assert sorted(path.name for path in (target / "defect").iterdir()) == sorted(KINDS)
    assert [path.name for path in tmp_path.iterdir()] == ["plate"], "nothing half-written is left"


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("mine")
    with pytest.raises(ChangeoverError, match="not empty; give a new folder"):
        write_sample(tmp_path, 1, 0, 0)
    (tmp_path / "empty").mkdir()
    write_sample(tmp_path / "empty", 1, 0, 0)
    assert (tmp_path / "empty" / "good" / "plate-0000.png").exists()


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(index: int, seed: int) -> np.ndarray:
        raise KeyboardInterrupt

    monkeypatch.setattr("data.sample.pictures.render_good", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_sample(tmp_path / "plate", 3, 0, 0)
    assert list(tmp_path.iterdir()) == []
