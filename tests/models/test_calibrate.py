"""What the guarantee says where the split could not keep parts apart."""

import json
from pathlib import Path

import numpy as np
import pytest

from core.files import write_json
from data.batch import BatchFolder
from data.split import split_batch
from models.evaluate import _guarantee
from models.evaluation.exam import MEASURING, Batch, LabelledImage
from models.inspection.calibration import Crossing, calibrate, promises
from registry.markdown import cell

IMAGE = np.zeros((1, 1, 1), np.uint8)


def told(folder: Path, groups: dict[str, str | None], left_out: tuple[str, ...] = ()) -> str:
    write_json(folder / "split.json", split_batch(groups, 1).as_json())
    split = json.loads((folder / "split.json").read_text())
    good = {subset: [LabelledImage(name, IMAGE) for name in split[subset] if name not in left_out] for subset in MEASURING}
    scores = np.linspace(0, 1, len(good["calibrate"]))
    return _guarantee(BatchFolder(folder), Batch(good, {}), calibrate(scores, 0.2))


def test_parts_that_were_kept_apart_take_nothing_away(tmp_path: Path) -> None:
    text = told(tmp_path, {f"{n:02d}.png": None for n in range(40)})
    assert text.startswith("8 calibration images promise an overkill of at most")
    assert told(tmp_path, {f"{n:02d}.png": f"part {n % 10}" for n in range(40)}).startswith("8 calibration images promise")


def test_parts_that_cross_take_the_promise_away(tmp_path: Path) -> None:
    text = told(tmp_path, {f"{n:02d}.png": f"part {n % 3}" for n in range(40)})
    assert text.startswith(
        "No promise for parts other than these: 8 of 8 calibration images, and 4 of 4 that overkill was counted on"
    )
    assert text.endswith(calibrate(np.linspace(0, 1, 8), 0.2).guarantee)
    # Cut to what fits into MLflow's description, it still says so.
    assert "show parts that training has seen" in cell(text, 400)
    again = told(tmp_path, {f"{n:02d}.png": f"part {n % 3}" for n in range(40)}, ("30.png", "39.png"))
    assert again.startswith("No promise for parts other than these: 7 of 7 calibration images, and 3 of 3")


def test_a_split_in_order_of_capture_says_so(tmp_path: Path) -> None:
    """Two parts, one behind the other: some calibration images are of the second alone, which training has seen too."""
    text = told(tmp_path, {f"{n:02d}.png": "one" if n < 28 else "two" for n in range(40)})
    assert text.startswith("The images were split in order of capture") and "No promise" not in text


@pytest.mark.parametrize("crossing", [Crossing(), Crossing(0, 0, False)])
def test_nothing_crosses(crossing: Crossing) -> None:
    assert crossing.qualify("It holds.", 5, 5) == "It holds."


def test_images_of_few_parts_promise_what_so_many_parts_can() -> None:
    scores = np.linspace(0, 1, 60)
    each, few = calibrate(scores, 0.05), calibrate(scores, 0.05, parts=[str(n % 4) for n in range(60)])
    assert each.promised < 0.05 and each.threshold < few.threshold == 1.0  # what four parts can promise takes the largest score
    assert few.promised == few.target == pytest.approx(0.2)
    assert few.guarantee.startswith("60 calibration images of 4 parts promise an overkill of at most 20.0% on average")
    assert "takes 19 parts among the calibration images" in few.guarantee


def test_the_promise_holds_on_average_where_each_part_is_photographed_ten_times() -> None:
    """Scores of one part lie together: between parts they spread ten times as much as within one."""
    rng = np.random.default_rng(0)
    found, promised = [], []
    for _ in range(400):
        parts = rng.normal(size=(5, 1)) + 0.1 * rng.normal(size=(5, 10))
        new = rng.normal(size=(200, 1)) + 0.1 * rng.normal(size=(200, 10))
        made = calibrate(parts.ravel(), 0.05, parts=[str(n // 10) for n in range(50)])
        found.append(np.mean(new > made.threshold))
        promised.append(made.target)
    assert np.mean(found) <= np.mean(promised) == pytest.approx(1 / 6)
    assert np.mean(found) > 0.1  # and fifty images alone would promise half of that


def test_parts_weigh_alike_however_many_images_there_are_of_each() -> None:
    """Worked by hand: three parts of one, two and four images; each weighs a quarter, shared out among its images."""
    scores, parts = [7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0], ["a", "b", "c", "b", "c", "c", "c"]
    thresholds, promised = promises(scores, parts)
    assert thresholds.tolist() == scores
    assert promised.tolist() == pytest.approx([1 / 4, 1 / 2, 5 / 8, 11 / 16, 13 / 16, 14 / 16, 15 / 16])
    made = calibrate(scores, 0.6, parts)
    assert (made.threshold, made.promised, made.parts) == (6.0, 0.5, 3)
    assert promises(scores)[1].tolist() == pytest.approx([k / 8 for k in range(1, 8)])


@pytest.mark.parametrize("wish", [0.1, 0.2, 0.3])
def test_the_promise_holds_where_parts_have_images_by_chance(wish: float) -> None:
    rng = np.random.default_rng(1)
    found, promised = [], []
    for _ in range(500):
        counts = rng.integers(1, 8, 24)
        level = rng.normal(size=24)
        parts = np.repeat(np.arange(24), counts)
        made = calibrate(level[parts] + 0.3 * rng.normal(size=len(parts)), wish, parts.astype(str).tolist())
        found.append(np.mean(rng.normal(size=400) + 0.3 * rng.normal(size=400) > made.threshold))
        promised.append(made.promised)
    assert max(promised) <= wish + 1e-9
    assert np.mean(promised) - 0.05 < np.mean(found) <= np.mean(promised) + 0.01  # 0.01: three standard errors of 500 draws


@pytest.mark.parametrize("n", [2, 5, 20, 100])
def test_the_largest_score_is_usually_exceeded_by_no_more_than_the_closed_form(n: int) -> None:
    """The share above the largest of n is over x with probability (1 - x)^n."""
    assert calibrate(np.linspace(0, 1, n), 1e-6).usually == pytest.approx(1 - 0.05 ** (1 / n))


@pytest.mark.parametrize(("n", "wish"), [(10, 0.05), (10, 0.2), (60, 0.05)])
def test_overkill_stays_below_the_usual_bound_in_19_of_20_batches(n: int, wish: float) -> None:
    """Scores are uniform, so that a threshold's overkill is known: 1 minus itself."""
    rng = np.random.default_rng(n)
    made = [calibrate(rng.random(n), wish) for _ in range(4000)]
    assert np.mean([1 - one.threshold <= one.usually for one in made]) == pytest.approx(0.95, abs=0.01)
    assert "19 of 20 such batches" in made[0].guarantee


def test_the_usual_bound_holds_where_each_part_is_photographed_ten_times() -> None:
    rng = np.random.default_rng(1)
    held = []
    for _ in range(400):
        parts = rng.normal(size=(5, 1)) + 0.1 * rng.normal(size=(5, 10))
        new = rng.normal(size=(2000, 1)) + 0.1 * rng.normal(size=(2000, 10))
        made = calibrate(parts.ravel(), 0.05, parts=[str(n // 10) for n in range(50)])
        held.append(np.mean(new > made.threshold) <= made.usually)
    assert np.mean(held) >= 0.94
