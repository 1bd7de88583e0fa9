"""UNet 3+."""

from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from core.errors import BadSettings
from models.detectors.catalogue import build_detector
from models.detectors.unet3plus import UNet3Plus
from tests.models.detector_tests import DetectorTests


class TestUNet3Plus(DetectorTests):
    name = "unet3plus"
    settings: ClassVar[dict[str, Any]] = {"encoder": "tu-resnet10t", "depth": 3, "width": 8}
    steps = 80


class TestUNet3PlusOnEfficientNet(DetectorTests):
    name = "unet3plus"
    settings: ClassVar[dict[str, Any]] = {"encoder": "efficientnet-b0", "depth": 3, "width": 8}
    steps = 120

    def test_it_learns(self) -> None:
        pytest.skip("covered by the ResNet variant: depthwise convolutions train slowly on CPUs")


def test_every_decoder_level_sees_all_scales() -> None:
    """Full-scale skips (Huang 2020, fig. 1): every encoder level at or above this one, and every decoder level below it."""
    network = UNet3Plus(1, "resnet18", depth=4, width=8)
    levels = len(network.stages) + 1
    for stage in network.stages:
        assert len(stage.from_encoder) == stage.level + 1
        assert len(stage.from_decoder) == levels - 1 - stage.level
        fused = stage.fuse[0]
        assert isinstance(fused, nn.Conv2d) and fused.in_channels == 8 * levels and fused.out_channels == 8 * levels


def test_moving_the_convolution_before_the_enlargement_changes_nothing_for_the_linear_part() -> None:
    """1×1 kernels commute with bilinear interpolation: this is why decoder parts are convolved at their own size."""
    x, convolution = torch.randn(1, 4, 8, 8), nn.Conv2d(4, 2, 1, bias=False)
    up = nn.Upsample(scale_factor=4, mode="bilinear", align_corners=False)
    assert torch.allclose(convolution(up(x)), up(convolution(x)), atol=1e-5)


@pytest.mark.parametrize("settings", [{"depth": 9}, {"encoder": "no-such-net"}, {"nonsense": 1}])
def test_impossible_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(BadSettings):
        build_detector("unet3plus", 1, dict(settings))
    with pytest.raises(BadSettings, match="not one of aligned_statistics, denoising_student, patchcore, rstpm"):
        build_detector("unet4", 1, {})
