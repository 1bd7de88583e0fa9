"""Aligned statistics: they find what is unlike at its place, wherever the part lies, and say nothing of what does not align."""

from typing import Any, ClassVar

from models.detectors.catalogue import build_detector
from tests.models.detector_tests import DetectorTests


class TestAlignedStatistics(DetectorTests):
    name = "aligned_statistics"
    settings: ClassVar[dict[str, Any]] = {}

    def test_loss_has_gradients_for_everything_that_learns(self) -> None:
        assert not list(build_detector(self.name, 1, self.settings).parameters())
