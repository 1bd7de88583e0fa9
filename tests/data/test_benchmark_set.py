"""The layout of benchmark sets, and what is wrong with others."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from core.errors import BadBatch, BadImage
from data.benchmark_set import find_sets, read_set
from data.mask import read_mask


def make_set(folder: Path, lines: str = "") -> Path:
    for name in ("good/a.png", "good/b.png", "defect/crack/a.png", "mask/crack/a.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.full((40, 50), 255 if "mask" in name else sum(name.encode()) % 200, np.uint8))
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


RIGHT = np.zeros((40, 50), np.uint8)
RIGHT[10:20, 5:25] = 255
RED = np.dstack([RIGHT, RIGHT * 0, RIGHT * 0])


def palette(mask: np.ndarray, colours: list[int]) -> Image.Image:
    picture = Image.fromarray(mask // 255).convert("P")
    picture.putdata((mask // 255).ravel().tolist())
    picture.putpalette(colours)
    return picture


def layer(red: int, green: int, blue: int) -> Image.Image:
    """Painted in one colour on a transparent layer."""
    return Image.fromarray(np.dstack([np.full((40, 50, 3), (red, green, blue), np.uint8), RIGHT]))


@pytest.mark.parametrize(
    "stored",
    [
        Image.fromarray(RIGHT),
        Image.fromarray(RIGHT // 255),
        Image.fromarray(np.where(RIGHT > 0, np.arange(50, dtype=np.uint8) % 3 + 1, 0).astype(np.uint8)),
        Image.fromarray(RIGHT).convert("1"),
        Image.fromarray(RIGHT.astype(np.uint16) * 257),
        Image.fromarray(RED),
        palette(RIGHT, [0, 0, 0, 128, 0, 0] + [0] * 750),
        palette(255 - RIGHT, [255, 255, 255, 0, 0, 0] + [0] * 750),
        layer(255, 255, 255),
        layer(0, 0, 0),
        layer(200, 0, 0),
        Image.fromarray(np.dstack([RIGHT, RIGHT, RIGHT, np.full_like(RIGHT, 255)])),
    ],
    ids=[
        "255",
        "1",
        "classes",
        "1 bit",
        "16 bits",
        "red",
        "palette",
        "palette turned",
        "white layer",
        "black layer",
        "red layer",
        "opaque",
    ],
)
@pytest.mark.parametrize("name", ["a.png", "A_Mask.PNG", "a.TIF"])
def test_masks_are_read_as_sets_store_them(tmp_path: Path, stored: Image.Image, name: str) -> None:
    folder = make_set(tmp_path / "bolt")
    (folder / "mask/crack/a.png").unlink()
    if name == "a.TIF" and stored.mode == "P":
        stored = stored.convert("RGB")
    stored.save(folder / "mask/crack" / name)
    label = read_set(folder).test[1].read(1)[1]
    assert label.dtype == np.float32
    np.testing.assert_array_equal(label, RIGHT / 255)


def test_soft_edges_stay_soft_and_jpeg_is_no_set_of_classes(tmp_path: Path) -> None:
    soft = cv2.GaussianBlur(RIGHT, (0, 0), 2)
    Image.fromarray(soft).save(tmp_path / "soft.png")
    np.testing.assert_allclose(read_mask(tmp_path / "soft.png"), soft / soft.max(), atol=1e-6)
    Image.fromarray(RIGHT).save(tmp_path / "mask.jpg", quality=70)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.jpg") > 0.5, RIGHT > 0)


def test_masks_that_leave_open_what_is_defect_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.where(RIGHT > 0, 255, 90).astype(np.uint8)).save(tmp_path / "grey.png")
    palette(RIGHT, [255, 255, 255, 255, 0, 0] + [0] * 750).save(tmp_path / "white.png")
    for name in ("grey.png", "white.png"):
        with pytest.raises(BadImage, match=f"{name}.* has no black ground; paint the defect white on black"):
            read_mask(tmp_path / name)
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(BadImage, match="cannot be read"):
        read_mask(tmp_path / "text.png")


def test_masks_that_are_missing_or_black_are_said_before_training(tmp_path: Path) -> None:
    folder = make_set(tmp_path / "bolt")
    cv2.imwrite(str(folder / "mask/crack/a.png"), RIGHT * 0)
    with pytest.raises(BadBatch, match=r"1 masks .* are all black, first .*a.png"):
        read_set(folder)
    cv2.imwrite(str(folder / "mask/crack/a.png"), 255 - RIGHT)
    with pytest.raises(BadBatch, match=r"cover 90% of their images.* not the other way round"):
        read_set(folder)
    (folder / "mask/crack/a.png").unlink()
    with pytest.raises(BadBatch, match=r"no mask of .*defect/crack/a.png'; put it at .*mask/crack/a.png'"):
        read_set(folder)


@pytest.mark.parametrize(
    "line",
    [
        "good/a.png,test,",
        "good\\a.png,Test,",
        "./good/a.png,test,",
        "good/copy.png,test,",
        "good/link.png,test,",
        "good/b.png,test,",
    ],
)
def test_what_is_trained_on_does_not_measure(tmp_path: Path, line: str) -> None:
    folder = make_set(tmp_path / "bolt", line + "\n")
    (folder / "good/copy.png").write_bytes((folder / "good/a.png").read_bytes())
    (folder / "good/link.png").symlink_to("a.png")
    with pytest.raises(BadBatch, match=r"is in test, and in train as 'a.png'|in the test list .* twice"):
        read_set(folder)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_the_list_is_read_as_spreadsheets_write_it(tmp_path: Path, encoding: str) -> None:
    folder = make_set(tmp_path / "bolt")
    (folder / "split.csv").write_bytes((folder / "split.csv").read_text().replace(",", ";").replace("/", "\\").encode(encoding))
    assert [len(found) for found in (read_set(folder).train, read_set(folder).test)] == [1, 2]


def picture(file: Path, number: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((40, 50), number, np.uint8)).save(file)


def test_mvtec_folders_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "bottle"
    for number, name in enumerate(("train/good/000", "train/good/001", "test/good/000", "test/broken/000")):
        picture(folder / f"{name}.png", 50 + number)
    (folder / "test/good/._000.png").write_bytes(b"AppleDouble")
    picture(folder / "ground_truth/broken/000_mask.png", 255)
    assert find_sets(tmp_path) == [folder] and find_sets(folder) == [folder]
    found = read_set(folder)
    assert [file.name for file, _ in found.train] == ["000.png", "001.png"]
    assert [(image.kind, image.mask is not None) for image in found.test] == [("broken", True), (None, False)]
    assert found.test[0].read(1)[1].min() == 1


def test_visa_folders_are_read_by_visas_list(tmp_path: Path) -> None:
    folder = tmp_path / "candle"
    for number, name in enumerate(("Normal/000", "Normal/001", "Anomaly/000")):
        picture(folder / f"Data/Images/{name}.JPG", 50 + number)
    picture(folder / "Data/Masks/Anomaly/000.png", 3)
    assert find_sets(tmp_path) == [folder]
    with pytest.raises(BadBatch, match=r"split_csv/1cls.csv is not beside it; put it there, or write a split.csv"):
        read_set(folder)
    images = "candle/Data/Images"
    (tmp_path / "split_csv").mkdir()
    (tmp_path / "split_csv/1cls.csv").write_text(
        f"object,split,label,image,mask\ncandle,train,normal,{images}/Normal/000.JPG,\n"
        f"candle,test,normal,{images}/Normal/001.JPG,\nfryum,test,normal,fryum/x.JPG,\n"
        f"candle,test,anomaly,{images}/Anomaly/000.JPG,candle/Data/Masks/Anomaly/000.png\n"
    )
    found = read_set(folder)
    assert [file.name for file, _ in found.train] == ["000.JPG"]
    assert [image.kind for image in found.test] == [None, "anomaly"] and found.test[1].read(1)[1].min() == 1
