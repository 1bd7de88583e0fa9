"""U-Net and UNet++."""

from typing import Any, ClassVar

import pytest

from data.errors import BadSettings
from models.detector import build_detector
from tests.models.detector_tests import DetectorTests


class TestUNet(DetectorTests):
    name = "unet"
    settings: ClassVar[dict[str, Any]] = {"encoder": "plain8", "depth": 4, "widths": (32, 16, 8)}
    steps = 60


class TestUNetOnANamedEncoder(DetectorTests):
    name = "unet"
    settings: ClassVar[dict[str, Any]] = {"encoder": "tu-resnet10t", "depth": 3, "widths": (32, 16, 8)}
    steps = 100


class TestUNetPlusPlus(DetectorTests):
    name = "unet"
    settings: ClassVar[dict[str, Any]] = {"encoder": "tu-resnet10t", "depth": 3, "widths": (32, 16, 8), "dense": True}
    steps = 100


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
