"""The text that a QA person reads."""

from pathlib import Path

import numpy as np

from models.evaluation.metrics_file import Metrics
from registry.client.training_run import _numbers, _params
from registry.markdown import LONGEST
from registry.rules.figures import champion_of, comparison, shown_gates
from registry.server.description import describe
from tests.models.report_contents import champion, contents, metrics

from .conftest import rate, request_for

FILES = frozenset(("report.html", "good.png", "defects.png"))


def test_numbers_pictures_and_how_to_sign(tmp_path: Path) -> None:
    metrics = dict(request_for(tmp_path, "bolt", "a").metrics)
    metrics["champion"] = {"version": "2", "overkill": rate(2, 50, 0.01, 0.13), "image_auroc": 0.95}
    text = describe(metrics, FILES, "7", "f" * 32)
    assert "### bolt · batch a · gates passed" in text
    assert "champion, version 2" in text
    assert "| escape (defects passed) | 1.50% (3 of 200), 95 %: 0.30% to 4.30% | – |" in text
    assert "| image AUROC | 0.991 | 0.95 |" in text
    assert f"![Good images](/get-artifact?path=good.png&run_uuid={'f' * 32})" in text
    assert f"(/#/experiments/7/runs/{'f' * 32}/artifacts/report.html?workflowType=machine_learning)" in text
    assert "add tag `qa.reason`" in text


def test_what_is_missing_is_left_out() -> None:
    text = describe({"passed": False}, frozenset(), "7", "f" * 32)
    assert "gates **failed**" in text
    assert "get-artifact" not in text
    assert "report.html" not in text


def test_names_cannot_become_markup(tmp_path: Path) -> None:
    metrics = dict(request_for(tmp_path, "bolt", "a").metrics)
    metrics["gates"] = [{"name": "<img src=x onerror=alert(1)> | ![x](http://evil) \n# big", "value": "|", "passed": True}] * 50
    metrics["guarantee"] = "<script>alert(1)</script>" * 100
    text = describe(metrics, FILES, "7", "f" * 32)
    assert len(text) <= LONGEST
    assert "<img" not in text.replace(r"\<img", "")
    assert "<script" not in text.replace(r"\<script", "")
    assert "![x]" not in text.replace(r"\!\[x\]", "")
    assert "\n# big" not in text


def test_what_models_write_is_found_under_its_names() -> None:
    """The registry reads the file by itself: it must look where the models' ``Metrics`` puts things."""
    made = metrics(contents(4, 4, (16, 16)).examples, np.random.default_rng(7))
    written = Metrics.model_validate(made | {"champion": champion()}).as_json()
    assert champion_of(written) == "3"
    rows = comparison(written)
    assert len(rows) == 5 and "–" not in [cell for row in rows for cell in row]
    gates = shown_gates(written)
    assert len(gates) == 4 and all(all(gate.values()) and "–" not in gate.values() for gate in gates)
    missed = {"calibrate": 1, "test": 2, "defects": 30}
    declining = Metrics.model_validate(made | {"not_judged": missed, "champion": champion()}).as_json()
    wanted = [("not judged, good parts (part of overkill)", "2", "–"), ("not judged, defects (no escape)", "30", "–")]
    assert [row for row in comparison(declining) if row not in rows] == wanted
    assert {f"not_judged.{key}": value for key, value in missed.items()}.items() <= dict(_numbers(declining)).items()
    for damaged in ("many", ["x"], {"test": [], "defects": {"n": 1}}):
        assert [row[1:] for row in comparison({"not_judged": damaged}) if "judged" in row[0]] in ([], [("–", "–")] * 2)
    text = describe(written, frozenset(), "7", "f" * 32)
    assert "### disc-40 · batch 2026-11-21-a · gates passed" in text and "With 90 calibration images" in text
    numbers = dict(_numbers(written))
    wanted = ["threshold", "pixel_threshold", "overkill.rate", "escape.high", "images.test", "timing.train_s", "image_auroc"]
    assert {*wanted, "family.stroke.pixel_ap"} <= numbers.keys() and numbers["images.test"] == 84
    params = dict(_params(written))
    assert {"product", "detector", "seed", "overkill_target", "images_digest", "environment.torch"} <= params.keys()
