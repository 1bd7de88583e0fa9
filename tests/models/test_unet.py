"""U-Net and UNet++."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from core.errors import BadSettings
from models.detectors.catalogue import build_detector
from models.exported import ExportedInspector
from models.inspection.export import export
from models.inspection.inspector import Inspector
from tests.models.detector_tests import DetectorTests


class TestUNet(DetectorTests):
    name = "unet"
    settings: ClassVar[dict[str, Any]] = {"encoder": "plain8", "depth": 4, "widths": (32, 16, 8)}
    steps = 60


class TestUNetOnANamedEncoder(DetectorTests):
    name = "unet"
    settings: ClassVar[dict[str, Any]] = {"encoder": "tu-regnetx_002", "depth": 3, "widths": (32, 16, 8)}


class TestUNetPlusPlus(DetectorTests):
    name = "unet"
    settings: ClassVar[dict[str, Any]] = {"encoder": "tu-regnetx_002", "depth": 3, "widths": (32, 16, 8), "dense": True}


@pytest.mark.parametrize(
    "settings",
    [
        {"depth": 9},
        {"widths": (8, 8)},
        {"encoder": "plain"},
        {"encoder": "plain9999"},
        {"encoder": "no-such-net"},
        {"dense": True},
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(BadSettings):
        build_detector("unet", 1, dict(settings))


@pytest.mark.parametrize("logit", [-200.0, 200.0])
def test_a_class_that_is_out_of_the_question_stays_finite_in_the_exported_file(logit: float, tmp_path: Path) -> None:
    detector = build_detector("unet", 1, {"encoder": "plain8", "depth": 4, "widths": (32, 16, 8)}).eval()
    nn.init.constant_(detector.get_submodule("classify.1").bias, logit)  # type: ignore[arg-type]
    inspector = Inspector([detector], 1.0).eval()
    properties = {"product": "p", "batch": "b", "detector": "unet", "threshold": "0", "pixel_threshold": "0"}
    export(inspector, tmp_path / "m.onnx", 1, properties)
    image = np.random.default_rng(0).integers(0, 255, (96, 64, 1), np.uint8)
    with torch.no_grad():
        wanted, score, _ = inspector(torch.from_numpy(image)[None])
    seen = ExportedInspector(tmp_path / "m.onnx").inspect(image)
    assert np.abs(seen.map - wanted[0].numpy()).max() <= 1e-3 and seen.score == pytest.approx(float(score[0]), abs=1e-3)
