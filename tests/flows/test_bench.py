"""``changeover bench``: trains on good images, measures on test images it never trained on, prints one table."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from data.benchmark_set import read_set
from flows.bench import FIGURES, markdown, table
from flows.terminal import reporting
from models.evaluation.rate import rate
from models.exported import ExportedInspector
from tests.flows.test_cli import changeover, the_error
from tests.small_sample import write_small_sample


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("products")
    write_small_sample(folder / "plate", good=20, defects=5, seed=3)
    return folder


@pytest.mark.slow
def test_a_product_is_trained_measured_and_kept(products: Path, tmp_path: Path) -> None:
    result = changeover("bench", products, "--budget", "10s", "--keep", tmp_path / "kept", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["products"][0]
    assert found["product"] == "plate" and sum(found["images"].values()) == 15
    assert (
        found["overkill"]["n"] == 5
        and found["escape"]["n"] == 5
        and set(found["kinds"]) == {"scratch", "dent", "hole", "stain", "print"}
    )

    # The figures are those of the kept file on exactly the test images.
    inspector = ExportedInspector(tmp_path / "kept" / "plate" / "model.onnx")
    test = read_set(products / "plate").test
    scores = [inspector.inspect(image.read(1)[0]).score for image in test]
    assert found["image_auroc"] == pytest.approx(roc_auc_score([image.kind is not None for image in test], scores), abs=1e-4)
    assert found["threshold"] == inspector.threshold
    trained = {file.resolve() for file in (tmp_path / "kept" / "plate" / "good").iterdir()}
    assert not trained & {image.file.resolve() for image in test}

    again = changeover("bench", products, "--budget", "10s", "--keep", tmp_path / "kept")
    assert "exists already" in the_error(again)


def test_products_that_are_not_there_are_refused(products: Path) -> None:
    assert "it has plate" in the_error(changeover("bench", products, "--product", "bolt"))
    assert "is not a folder" in the_error(changeover("bench", products / "nowhere"))


def a_result(name: str, auroc: float) -> dict[str, object]:
    rate = {"count": 1, "n": 20, "rate": 0.05, "low": 0.001, "high": 0.249}
    return {
        "product": name, "images": {"train": 10, "tune": 2, "calibrate": 4, "test": 2}, "seconds": 120.0, "seed": 1,
        "preset": "quick",
        "budget": 100.0, "overkill": rate, "escape": rate, "kinds": {"crack": auroc, "pit": 1.0}, "ms_per_image": 12.3,
        **dict.fromkeys(FIGURES, 0.5), "image_auroc": auroc,
    }  # fmt: skip


def test_the_table_has_a_line_a_product_and_their_mean() -> None:
    results = [a_result("bolt", 0.9), a_result("nut", 0.7)]
    rows = table(results)
    assert [row[0] for row in rows] == ["product", "bolt", "nut", "mean"] and len({len(row) for row in rows}) == 1
    assert rows[-1][2] == f"{np.mean([0.9, 0.7]):.3f}" and rows[1][7] == "5.0% (0.1% to 24.9%)"
    text = markdown(results)
    assert text.splitlines()[1].count("---") == len(rows[0]) and "bolt: crack 0.900, pit 1.000" in text and "Seed 1" in text


def test_what_was_not_judged_is_said_below_the_table() -> None:
    missed = {"good": asdict(rate(1, 20)), "defects": asdict(rate(0, 30))}
    none = {"good": asdict(rate(0, 20)), "defects": asdict(rate(0, 30))}
    results = [a_result("bolt", 0.9) | {"not_judged": missed}, a_result("nut", 0.7) | {"not_judged": none}]
    wanted = "Not judged, and so rejected whatever the score: bolt: good 1 of 20, defects 0 of 30."
    assert wanted in markdown(results).splitlines()
    assert "Not judged" not in markdown([results[1]]) and "Not judged" not in markdown([a_result("nut", 0.7)])


def test_without_a_terminal_progress_is_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with reporting("plate (1 of 1)") as report:
        report("train: step 1", 0.1)
        report("train: step 2", 0.2)
        report("measuring", None)
    assert capsys.readouterr().err.splitlines() == ["plate (1 of 1): train: step 1, 10%", "plate (1 of 1): measuring"]


def test_on_a_terminal_progress_is_a_bar_with_the_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with reporting("plate (1 of 1)") as report:
        report("reading images", None)
        for i in range(5):
            report("train: step", i / 5)
    assert "plate (1 of 1)" in capsys.readouterr().err
