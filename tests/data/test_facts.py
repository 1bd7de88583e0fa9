"""Facts against plain NumPy, and near-duplicates against planted ones."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data.batch import MIN_IMAGES, BatchFolder
from data.ingest import ingest
from data.progress import read_progress
from data.sample.pictures import render_good
from data.validation.duplicates import find_duplicates, thumbnail
from data.validation.facts import COLUMNS, image_facts, sharpness
from tests.data.conftest import Deliver, pixels


def facts_of(source: Path, folder: BatchFolder) -> pd.DataFrame:
    return image_facts(folder, ingest(source, folder, "bolt", "a"))


def test_facts_are_what_numpy_says(deliver: Deliver, folder: BatchFolder) -> None:
    source = deliver(11)
    known = np.full((40, 80), 100, np.uint8)
    known[:4] = 255
    known[-2:] = 0
    Image.fromarray(known).save(source / "known.png")
    table = facts_of(source, folder)
    assert list(table.columns) == COLUMNS and len(table) == 12
    record = folder.read_record()
    assert table["name"].tolist() == [image.name for image in record.images]
    row = table[table["name"].str.startswith("known")].iloc[0]
    assert (row["width"], row["height"], row["channels"], row["bits"]) == (80, 40, 1, 8)
    assert row["bytes"] == (source / "known.png").stat().st_size
    assert row["sha256"] == hashlib.sha256((source / "known.png").read_bytes()).hexdigest()
    assert row["brightness"] == pytest.approx(known.mean() / 255)
    assert row["contrast"] == pytest.approx(known.std() / 255)
    assert (row["overexposed"], row["underexposed"]) == (0.1, 0.05)
    assert row["problem"] is None and row["duplicate_of"] is None
    state = read_progress(folder.path)
    assert state is not None and (state.stage, state.done, state.total) == ("validate", 12, 12)


def test_colour_is_measured_in_grey(deliver: Deliver, folder: BatchFolder) -> None:
    table = facts_of(deliver(12, channels=3), folder)
    first = pixels(0, channels=3) @ np.array([0.299, 0.587, 0.114])
    row = table[table["name"].str.startswith("part_000")].iloc[0]
    assert row["channels"] == 3
    assert row["brightness"] == pytest.approx(first.mean() / 255, abs=0.002)


def test_damaged_and_missing_files_have_a_problem_and_no_facts(deliver: Deliver, folder: BatchFolder) -> None:
    record = ingest(deliver(12), folder, "bolt", "a")
    (folder.good / record.images[2].name).write_bytes(b"x")
    (folder.good / record.images[5].name).unlink()
    table = image_facts(folder, record)
    assert "not an image" in table["problem"][2] and "cannot be opened" in table["problem"][5]
    assert table["sha256"][2] == hashlib.sha256(b"x").hexdigest() and table["sha256"][5] is None
    assert table["width"].isna().tolist() == [number in {2, 5} for number in range(12)]


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    grey = pixels(3, 60, 70)
    levels = np.pad(grey.astype(float) / 255, 1, mode="reflect")  # OpenCV's border
    laplacian = levels[:-2, 1:-1] + levels[2:, 1:-1] + levels[1:-1, :-2] + levels[1:-1, 2:] - 4 * levels[1:-1, 1:-1]
    assert sharpness(grey) == pytest.approx(laplacian.var(), rel=1e-4)


def test_sharpness_falls_with_blur_and_does_not_depend_on_resolution() -> None:
    plate = render_good(0, 1)[:, :, 0]
    values = [sharpness(cv2.GaussianBlur(plate, (0, 0), sigma)) for sigma in (0.5, 1, 2, 4)]
    assert values == sorted(values, reverse=True) and values[0] > 20 * values[-1]
    large = cv2.resize(plate, (1024, 1024), interpolation=cv2.INTER_CUBIC)
    larger = cv2.resize(plate, (2048, 2048), interpolation=cv2.INTER_CUBIC)
    assert sharpness(larger) == pytest.approx(sharpness(large), rel=0.1)


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE)


def found(images: dict[str, np.ndarray]) -> dict[str, str]:
    return find_duplicates([*images], np.stack([thumbnail(image) for image in images.values()]))


def plates(count: int, seed: int = 3) -> dict[str, np.ndarray]:
    return {f"p{number:03d}": render_good(number, seed)[:, :, 0] for number in range(count)}


@pytest.mark.parametrize("count", [12, 30, 90])
def test_parts_in_a_fixture_are_no_duplicates(count: int) -> None:
    """They share every edge, so a perceptual hash calls them equal; they are not."""
    assert found(plates(count)) == {}


def test_two_kinds_of_view_and_an_outlier_are_no_duplicates() -> None:
    upright = plates(30)
    mixed = {name: image[::-1].copy() if number % 2 else image for number, (name, image) in enumerate(upright.items())}
    assert found(mixed) == {}
    assert found({**upright, "p999": 255 - upright["p000"]}) == {}


def test_planted_duplicates_are_found_and_nothing_else() -> None:
    images = plates(60)
    planted = {"q1": ("p004", 90), "q2": ("p004", 75), "q3": ("p031", 80)}
    for name, (source, quality) in planted.items():
        images[name] = jpeg(images[source], quality)
    small = cv2.resize(images["p007"], (200, 200), interpolation=cv2.INTER_AREA)
    assert found({**images, "q4": small}) == {"q1": "p004", "q2": "p004", "q3": "p031", "q4": "p007"}
    backwards = dict(reversed({**images, "q4": small}.items()))
    assert found(backwards) == {"q1": "p004", "q2": "p004", "q3": "p031", "q4": "p007"}


def test_a_second_exposure_of_a_part_is_found_in_a_large_batch() -> None:
    images = plates(120)
    noise = np.random.default_rng(5)
    for number in (8, 50):
        darker = images[f"p{number:03d}"] * 0.85 + noise.normal(0, 1.5, (256, 256))
        images[f"q{number}"] = np.clip(darker, 0, 255).astype(np.uint8)
    assert found(images) == {"q8": "p008", "q50": "p050"}


def test_a_batch_of_one_picture_saved_again_and_again() -> None:
    plate = render_good(0, 1)[:, :, 0]
    images = {f"p{number:02d}": jpeg(plate, 75 + number) for number in range(14)}
    assert len(images) - len(found(images)) < MIN_IMAGES, "what is distinct in there is no batch"


def sheet(number: int) -> np.ndarray:
    """Glass: noise, and shading that differs."""
    random = np.random.default_rng([5, number])
    across, down = np.mgrid[:640, :640] / 640
    light = 140 + random.normal(0, 1) + random.normal(0, 1) * across + random.normal(0, 1) * down
    return np.clip(light + random.normal(0, 3, (640, 640)), 0, 255).astype(np.uint8)


def dark_field(number: int) -> np.ndarray:
    """A speck of dust or two on black."""
    random = np.random.default_rng([8, number])
    image = np.abs(random.normal(2, 1.2, (640, 640)))
    for row, column in random.integers(9, 630, (2, 2)):
        image[row : row + 3, column : column + 3] += 150
    return image.astype(np.uint8)


def tiny_part(number: int) -> np.ndarray:
    """A part of 24 px, always at the same place."""
    random = np.random.default_rng([6, number])
    image = random.normal(90, 2, (1280, 1280))
    image[640:664, 640:664] += random.normal(60, 12, (24, 24))
    return np.clip(image, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("count", [14, 30])
@pytest.mark.parametrize("quality", [None, 90])
@pytest.mark.parametrize("make", [sheet, dark_field, tiny_part], ids=["sheets", "dark field", "tiny parts"])
def test_pictures_with_little_in_them_are_no_duplicates(
    make: Callable[[int], np.ndarray], quality: int | None, count: int
) -> None:
    images = {f"p{number:02d}": make(number) for number in range(count)}
    assert found({name: jpeg(image, quality) if quality else image for name, image in images.items()}) == {}
    if quality is None:
        assert found({**images, "q": jpeg(images["p07"], 95)}) == {"q": "p07"}, "one saved again is found among them"


def test_noise_is_read_off_one_picture() -> None:
    """A cell of 10 by 10 pixels has a tenth of their noise; edges, shading and what is pure black have none."""
    down = np.mgrid[:640, :640][0]
    scene = np.where(down > 333, 60, 180) + 0.05 * down
    noisy = np.random.default_rng(2).normal(scene, 4)
    assert thumbnail(np.clip(noisy, 0, 255).astype(np.uint8))[-1] == pytest.approx(0.4, rel=0.05)
    noisy[:, :320] = 0
    assert thumbnail(np.clip(noisy, 0, 255).astype(np.uint8))[-1] == pytest.approx(0.4 / 2**0.5, rel=0.05)
    assert thumbnail(np.full((640, 640), 90, np.uint8))[-1] == 0


def test_likeness_is_not_passed_on() -> None:
    """Each image of the chain is like the next; the last is nothing like the first."""
    random = np.random.default_rng(1)
    patterns = [random.normal(0, 20, (64, 64)) for _ in range(4)]
    chain = {f"c{n}": 128 + np.cos(n * 0.5) * patterns[0] + np.sin(n * 0.5) * patterns[1] for n in range(4)}
    others = {f"p{n:02d}": 128 + random.normal(0, 20, (64, 64)) for n in range(60)}
    images = {name: np.clip(image, 0, 255).astype(np.uint8) for name, image in {**others, **chain}.items()}
    assert found(images) == {"c1": "c0", "c3": "c2"}
    # What is saved again is the same image, and goes where that goes.
    images["z"] = jpeg(images["c1"], 90)
    assert found(images) == {"c1": "c0", "c3": "c2", "z": "c0"}


def test_parts_that_the_source_keeps_apart_are_no_duplicates() -> None:
    images = plates(20)
    images |= {"q1": jpeg(images["p004"], 90), "q2": jpeg(images["p004"], 80), "q3": jpeg(images["p009"], 90)}
    thumbnails = np.stack([thumbnail(image) for image in images.values()])
    groups = {"p004": None, "q1": "one", "q2": "two", "p009": "three", "q3": "three"}
    # The image of an unknown part belongs to one of them; else it would join both.
    assert find_duplicates([*images], thumbnails, groups) == {"q1": "p004", "q3": "p009"}


def test_blocks_give_what_one_pass_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    images = plates(40)
    images |= {f"q{number}": jpeg(images[f"p{number:03d}"], 85) for number in (0, 17, 39)}
    whole = found(images)
    monkeypatch.setattr("data.validation.duplicates._BLOCK", 7)
    assert found(images) == whole and len(whole) == 3
