"""What counts as the same model again."""

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from data.batch import BatchFolder
from flows.records.comparison import compare, machine_differences, outcome
from flows.records.rebuild import _defects
from models.evaluation.metrics_file import Metrics
from tests.metrics_of_a_version import metrics_with

MACHINE = {
    "cpu": "EPYC", "instructions": "AVX512", "device": "cpu, 2 threads", "threads": "2", "python": "3.12", "changeover": "0.1.0",
    "code": "abc",
}  # fmt: skip


@pytest.fixture
def metrics() -> dict[str, Any]:
    log = {"steps": 90, "steps_planned": 100, "threads": 2, "device": "cpu"}
    scores = [i / 100 for i in range(100)]
    machine = {"environment": MACHINE, "packages": {"torch": "2"}}
    return metrics_with(
        **machine, scores={"calibrate": scores, "test": scores, "defects": scores},
        training={"weights_digest": "b" * 64, "networks": [log], "chosen": {"detector": "unet3plus"}, **machine},
    ).as_json()  # fmt: skip


def differences(recorded: dict[str, Any], rebuilt: dict[str, Any]) -> list[str]:
    return machine_differences(Metrics.model_validate(recorded), Metrics.model_validate(rebuilt))


def judged(recorded: dict[str, Any], rebuilt: dict[str, Any]) -> str:
    rows = compare(Metrics.model_validate(recorded), Metrics.model_validate(rebuilt))
    return outcome(rows, differences(recorded, rebuilt))


def test_a_record_of_0_1_which_called_the_subset_test_lock_is_compared(metrics: dict[str, Any]) -> None:
    before = {
        **metrics,
        "scores": {**{key: metrics["scores"][key] for key in ("calibrate", "defects")}, "lock": metrics["scores"]["test"]},
    }
    assert judged(before, metrics) == "identical"


def test_the_same_is_identical(metrics: dict[str, Any]) -> None:
    assert differences(metrics, copy.deepcopy(metrics)) == []
    assert judged(metrics, copy.deepcopy(metrics)) == "identical"


def other_weights(metrics: dict[str, Any], scale: float = 1.001) -> dict[str, Any]:
    rebuilt = copy.deepcopy(metrics)
    rebuilt["training"]["weights_digest"], rebuilt["model_digest"] = "c" * 64, "d" * 64
    rebuilt["threshold"] *= scale
    rebuilt["scores"] = {key: [score * scale for score in scores] for key, scores in metrics["scores"].items()}
    return rebuilt


def test_other_weights_need_an_explanation(metrics: dict[str, Any]) -> None:
    rebuilt = other_weights(metrics)
    assert judged(metrics, rebuilt) == "different"
    rebuilt["training"]["environment"]["cpu"] = "Xeon"
    assert differences(metrics, rebuilt) == ["cpu was EPYC, is Xeon"]
    assert judged(metrics, rebuilt) == "within tolerance"
    del metrics["environment"]["code"]
    assert "code is not on record" in differences(metrics, rebuilt)


def elsewhere(metrics: dict[str, Any], scale: float = 1.001) -> dict[str, Any]:
    return other_weights(metrics, scale) | {"packages": {"torch": "1"}}


def test_the_limits_of_tolerance(metrics: dict[str, Any]) -> None:
    assert judged(metrics, elsewhere(metrics, 1.0099)) == "within tolerance"
    assert judged(metrics, elsewhere(metrics, 1.0101)) == "different"
    for share, wanted in ((1, "within tolerance"), (2, "different")):
        rebuilt = elsewhere(metrics)
        for i in range(share):
            rebuilt["scores"]["test"][i] = 1.0
        assert judged(metrics, rebuilt) == wanted
    worse = elsewhere(metrics)
    worse["image_auroc"] -= 0.02
    assert judged(metrics, worse) == "different"


def test_a_gpu_and_missing_scores(metrics: dict[str, Any]) -> None:
    metrics["training"]["networks"][0]["device"] = "cuda"
    assert judged(metrics, other_weights(metrics)) == "within tolerance"
    rebuilt = other_weights(metrics)
    rebuilt["scores"]["test"] = rebuilt["scores"]["test"][:99]
    assert judged(metrics, rebuilt) == "different"


def test_what_was_not_judged_was_rejected(metrics: dict[str, Any]) -> None:
    metrics["scores"]["test"][:2] = [None, None]
    assert judged(metrics, copy.deepcopy(metrics)) == "identical"
    rows = compare(Metrics.model_validate(metrics), Metrics.model_validate(metrics))
    above = sum(score is None or score > metrics["threshold"] for score in metrics["scores"]["test"])
    assert next(row for row in rows if row.what == "verdicts, test images").recorded == f"{above} of 100 rejected"
    rebuilt = copy.deepcopy(metrics)
    rebuilt["scores"]["test"][:2] = [0.0, 0.0]
    assert judged(metrics, rebuilt) == "different"


def test_who_only_reads_records_does_not_wait_for_torch() -> None:
    reads = [
        "flows.records.lineage",
        "flows.records.certificate",
        "flows.records.rebuild",
        "models.evaluation.gates",
        "models.evaluation.metrics_file",
        "data.defects.recipe",
        "models.training.training_log",
    ]
    code = f"import sys, {', '.join(reads)}; print(*sorted({{'torch', 'mlflow', 'prefect', 'onnxruntime'}} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_exam_defects_are_compared_under_the_name_that_0_1_gave_the_subset(tmp_path: Path) -> None:
    before, now = BatchFolder(tmp_path / "before"), BatchFolder(tmp_path / "now")
    for folder, subset in ((before, "lock"), (now, "test")):
        folder.file("defects").mkdir(parents=True)
        (folder.file("defects") / "0000.png").write_bytes(b"picture")
        text = json.dumps({"defects": [{"file": "0000.png", "subset": subset}]}, indent=2)
        (folder.file("defects") / "index.json").write_text(text)
    assert _defects(before, False) != _defects(now, False)
    assert _defects(before, True) == _defects(before, False) == _defects(now, True)
