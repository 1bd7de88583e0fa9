"""Images that a model does not judge, through the stage that measures it: threshold, figures, gate, report and record."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from core.files import write_json
from data.batch import BatchFolder
from data.defects.regenerate import regenerate
from data.yaml_file import write_yaml
from models.evaluate import evaluate
from models.evaluation.assemble import ScoredImage, giving_threshold
from models.evaluation.exam import LabelledImage
from models.evaluation.measure import measure
from models.evaluation.metrics_file import Metrics, read_metrics
from models.exported import ExportedInspector, Inspection
from tests.models.detector_tests import good_image
from tests.models.trained_batch import a_batch, trained


def stranger(seed: int) -> np.ndarray:
    """A picture of another part: no hole is where the template has one, uint8 (64, 96)."""
    noise = np.random.default_rng(seed).normal(0, 1, (64, 96)).astype(np.float32)
    grain = cv2.GaussianBlur(noise, (0, 0), 2.0)
    return np.clip(128 + 40 * grain / grain.std(), 0, 255).astype(np.uint8)


def with_strangers(path: Path, calibrate: int, test: int) -> BatchFolder:
    """A batch of 26 images, ten of them to calibrate and four to test, of which some show another part; exported and measured."""
    pattern = a_batch(path / "pattern")
    names = [f"{i:03d}.png" for i in range(26)]
    split = {"train": names[:8], "tune": names[8:12], "calibrate": names[12:22], "test": names[22:]}
    for i, name in enumerate(names):
        cv2.imwrite(str(pattern.good / name), good_image(i, 1, 64, 96))
    for name in (*split["calibrate"][:calibrate], *split["test"][:test]):
        cv2.imwrite(str(pattern.good / name), stranger(int(name[:3])))
    write_json(pattern.file("split.json"), split)
    shutil.rmtree(pattern.file("defects"))
    regenerate(pattern)
    chosen = {"detector": "aligned_statistics", "mix": "drawn", "schedule": "linear"}
    write_json(pattern.file("study") / "best.json", {"params": chosen, "value": 0.5, "scale": 1.0, "side": 64})
    write_json(pattern.file("study") / "trials.json", [])
    folder = trained(pattern, path / "batch", [1])
    image = {"name": "000.png", "source_name": "0", "sha256": "0" * 64, "bytes": 1, "width": 96, "height": 64, "channels": 1}
    write_yaml(folder.file("batch.yaml"), {"product": "bolt", "batch": "a", "digest": "0" * 64, "images": [image]})
    write_json(folder.file("validation.json"), {"passed": True, "checks": [], "facts": [], "summary": {}})
    folder.file("champion").mkdir()
    write_json(folder.file("champion") / "champion.json", {"version": None})
    evaluate(folder)
    return folder


def metrics_of(folder: BatchFolder) -> Metrics:
    return read_metrics((folder.file("report") / "metrics.json").read_bytes())


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> BatchFolder:
    return with_strangers(tmp_path_factory.mktemp("strangers"), calibrate=2, test=1)


def test_what_is_not_judged_gives_no_threshold_and_counts_as_rejected(measured: BatchFolder) -> None:
    found = metrics_of(measured)
    index = json.loads((measured.file("defects") / "index.json").read_text())["defects"]
    split = json.loads(measured.file("split.json").read_text())
    on_stranger = [one["source"] == split["test"][0] for one in index if one["subset"] == "test"]
    assert found.not_judged is not None and found.scores.calibrate[:2] == (None, None) and found.scores.test[0] is None
    assert (found.not_judged.calibrate, found.not_judged.test, found.not_judged.defects) == (2, 1, sum(on_stranger))
    assert [score is None for score in found.scores.defects] == on_stranger
    calibrated = [score for score in found.scores.calibrate if score is not None]
    assert len(calibrated) == 8 and found.threshold == pytest.approx(max(calibrated))
    above = sum(score is not None and score > found.threshold for score in found.scores.test)
    assert found.overkill.count == above + 1 and found.overkill.n == 4
    below = sum(score is not None and score <= found.threshold for score in found.scores.defects)
    assert found.escape.count == below and found.escape.n == len(on_stranger)
    assert "2 of 10 calibration images were" in found.guarantee and found.guarantee.startswith("8 calibration images promise")
    assert all(choice.overkill.count >= 1 for choice in found.trade_off), "no threshold passes it"


def test_too_many_of_them_fail_a_gate(measured: BatchFolder, tmp_path: Path) -> None:
    gates = {gate.name: gate for gate in metrics_of(measured).gates}
    assert gates["not judged"].value == 0.2 and not gates["not judged"].passed
    assert gates["export verdicts"].passed and gates["export parity"].passed
    few = metrics_of(with_strangers(tmp_path, calibrate=1, test=0))
    assert next(gate for gate in few.gates if gate.name == "not judged").passed
    assert few.not_judged is not None and (few.not_judged.test, few.not_judged.defects) == (0, 0)


def test_the_report_shows_them(measured: BatchFolder) -> None:
    html = (measured.file("report") / "report.html").read_text(encoding="utf-8")
    assert 'id="not-judged"' in html and "Not judged: the part was not found" in html
    assert "2 of" in html[html.index('id="not-judged"') :]


class Pictures:
    """A test image in memory, as ``TestImage`` gives it."""

    def __init__(self, pixels: np.ndarray, kind: str | None) -> None:
        self.pixels, self.kind = pixels[..., None], kind

    def read(self, _channels: int) -> tuple[np.ndarray, np.ndarray]:
        return self.pixels, np.full(self.pixels.shape[:2], float(self.kind is not None), np.float32)


def test_a_benchmark_counts_them_apart_and_ranks_them_first(measured: BatchFolder) -> None:
    inspector = ExportedInspector(measured.file("report") / "model.onnx")
    good = [Pictures(good_image(i, 1, 64, 96)[..., 0], None) for i in (40, 41, 42)]
    images: list[Any] = [*good, Pictures(stranger(90), None), *(Pictures(stranger(91 + i), "other") for i in range(3))]
    found = measure(inspector, images)
    assert found["not_judged"]["good"]["count"] == 1 and found["not_judged"]["defects"]["count"] == 3
    assert found["overkill"]["count"] >= 1 and found["escape"]["count"] == 0
    # Each of three defects beats three good images and ties with the fourth.
    assert found["image_auroc"] == pytest.approx((3 + 0.5) / 4)


def scored(*judged: bool) -> list[ScoredImage]:
    blank = np.zeros((2, 2), np.float32)
    return [
        ScoredImage(LabelledImage(str(n), np.zeros((2, 2, 1), np.uint8)), Inspection(blank, float(n), not one, one))
        for n, one in enumerate(judged)
    ]


def test_a_threshold_is_of_judged_images_unless_fewer_than_two_are() -> None:
    some = scored(True, False, True)
    assert giving_threshold(some) == [some[0], some[2]] and len(giving_threshold(scored(True, False, False))) == 3
    assert [one.rank for one in some] == [0.0, math.inf, 2.0] and [one.recorded for one in some] == [0.0, None, 2.0]
