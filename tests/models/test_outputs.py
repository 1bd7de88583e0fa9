"""What stages leave is whole or not there: a stage that is killed while it writes leaves what was there before."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.files import write_json
from data.batch import BatchFolder
from data.yaml_file import write_yaml
from models import evaluate as evaluating
from models import tune as tuning
from models.evaluate import evaluate
from tests.models.trained_batch import a_batch, trained


class Killed(BaseException):
    """Nothing cleans up after this, but for what a finally does."""


def held(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()} if folder.exists() else {}


def test_a_report_is_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = trained(a_batch(tmp_path / "pattern"), tmp_path / "batch", [1])
    image = {"name": "000.png", "source_name": "0", "sha256": "0" * 64, "bytes": 1, "width": 96, "height": 64, "channels": 1}
    write_yaml(folder.file("batch.yaml"), {"product": "bolt", "batch": "a", "digest": "0" * 64, "images": [image]})
    report = folder.file("report")

    def half(_batch: Any, _detectors: Any, _training: Any, model: Path, *_: Any) -> None:
        model.write_bytes(b"half")
        raise Killed

    monkeypatch.setattr(evaluating, "assemble", half)
    with pytest.raises(Killed):
        evaluate(folder)
    assert not report.exists()
    report.mkdir()
    (report / ".gitignore").write_text("/model.onnx\n")
    (report / "model.onnx").write_bytes(b"of the last run")
    before = held(report)
    with pytest.raises(Killed):
        evaluate(folder)
    assert held(report) == before

    names = ("model.onnx", "good.png", "defects.png", "report.html", "metrics.json")

    def wrote(last: int) -> Any:
        def writing(_folder: BatchFolder, out: Path) -> str:
            for name in names[:last]:
                (out / name).write_text("new")
            if last < len(names):
                raise Killed
            return "done"

        return writing

    for last in range(len(names)):
        monkeypatch.setattr(evaluating, "_evaluated", wrote(last))
        with pytest.raises(Killed):
            evaluate(folder)
        assert held(report) == before
    monkeypatch.setattr(evaluating, "_evaluated", wrote(len(names)))
    evaluate(folder)
    assert held(report) == dict.fromkeys(names, b"new") | {".gitignore": before[".gitignore"]}


def test_a_study_is_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = BatchFolder(tmp_path)
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / ".gitignore").write_text("/journal.log\n")

    class Trial:
        number, value = 0, 0.5
        user_attrs: dict[str, Any] = {"chosen": {"detector": "stpm"}, "seconds": 1.0, "families": {}, "steps": 1}  # noqa: RUF012

    def killed_at_the_last(target: Path, value: Any) -> None:
        if target.name == "best.json":
            raise Killed
        write_json(target, value)

    before = held(folder.file("study"))
    with monkeypatch.context() as patch:
        patch.setattr(tuning, "write_json", killed_at_the_last)
        with pytest.raises(Killed):
            tuning._write_study(folder, [Trial()], b"of the study", {})
    assert held(folder.file("study")) == before
    tuning._write_study(folder, [Trial()], b"of the study", {"side": 64})
    assert set(held(folder.file("study"))) == {".gitignore", "best.json", "trials.json", "journal.log"}
    assert json.loads((folder.file("study") / "best.json").read_text())["side"] == 64
