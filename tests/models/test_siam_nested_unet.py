"""Siam-NestedUNet."""

from typing import Any, ClassVar

from tests.models.detector_tests import DetectorTests


class TestSiamNestedUNet(DetectorTests):
    name = "siam_nested_unet"
    settings: ClassVar[dict[str, Any]] = {"encoder": "tu-resnet10t", "depth": 3, "widths": (8, 12)}
    steps = 80
