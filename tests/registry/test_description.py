"""The text that a QA person reads."""

from pathlib import Path

from registry.markdown import LONGEST
from registry.server.description import describe

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
