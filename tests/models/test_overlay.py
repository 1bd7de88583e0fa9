"""Maps and labels over photographs: one fixed scale, nothing above the threshold hidden, nothing below it shouted."""

import numpy as np
import pytest

from core.errors import BadModel
from models.report.overlay import ColourScale, close_up, contours, overlaid, pooled


def test_same_value_same_colour_whatever_else_the_map_holds() -> None:
    scale = ColourScale(0.4)
    quiet, loud = np.zeros((8, 8), np.float32), np.full((8, 8), 50, np.float32)
    quiet[3, 3] = loud[3, 3] = 0.57
    assert (scale.paint(quiet)[3, 3] == scale.paint(loud)[3, 3]).all()


@pytest.mark.parametrize("threshold", [0.4, 1e-6, 250.0, 0.0, -2.0])
def test_opacity_jumps_just_above_the_threshold(threshold: float) -> None:
    scale = ColourScale(threshold)
    step = 1e-3 * scale.span
    values = np.array([[scale.low, threshold - step, threshold, threshold + step, scale.high, scale.high + 100 * scale.span]])
    opacity = scale.paint(values)[0, :, 3] / 255
    assert opacity[0] == 0
    assert opacity[2] <= 0.13
    assert opacity[3] >= 0.6
    assert opacity[4] == opacity[5] >= 0.85
    assert (np.diff(opacity) >= 0).all()


def test_colours_keep_apart_in_lightness() -> None:
    """Brightness rises along the scale, so that it reads in grey print and with colour-blind eyes."""
    table = ColourScale(1.0).table.astype(float)
    luminance = table[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > -1.5).all()
    assert luminance[-1] - luminance[0] > 60


def test_threshold_must_be_a_number() -> None:
    with pytest.raises(BadModel, match="nan"):
        ColourScale(float("nan"))


def test_shrinking_a_map_keeps_its_peaks() -> None:
    anomaly_map = np.zeros((301, 517), np.float32)
    anomaly_map[300, 516] = 0.9
    small, factor = pooled(anomaly_map, 100)
    assert max(small.shape) <= 100
    assert factor == 6
    assert small.max() == np.float32(0.9)
    assert np.count_nonzero(small) == 1


@pytest.mark.parametrize("value", [255, 40])
def test_outline_encloses_even_the_smallest_label(value: int) -> None:
    label = np.zeros((200, 300), np.uint8)
    label[0, 0] = label[120, 210] = value
    polygons = contours(label)
    assert len(polygons) == 2
    x, y = polygons[1][:, 0], polygons[1][:, 1]
    assert x.min() < 210 < x.max()
    assert y.min() < 120 < y.max()
    assert contours(None) == contours(np.zeros_like(label)) == []


def test_overlay_leaves_quiet_parts_of_the_photograph_alone() -> None:
    image = np.full((60, 60, 1), 120, np.uint8)
    anomaly_map = np.zeros((60, 60), np.float32)
    anomaly_map[20:30, 20:30] = 2.0
    picture = overlaid(image, anomaly_map, None, ColourScale(1.0))
    assert picture.shape == (60, 60, 3)
    assert (picture[40:, 40:] == 120).all()
    assert (picture[22:28, 22:28] != 120).any(axis=2).all()


def test_close_up_holds_the_place_that_matters() -> None:
    image = np.zeros((300, 900, 3), np.uint8)
    image[290:296, 880:890] = 200
    label = np.where(image[..., 0] > 0, 255, 0).astype(np.uint8)
    anomaly_map = np.zeros((300, 900), np.float32)
    anomaly_map[293, 885] = 1
    for marked in (label, None):
        close = close_up(image, anomaly_map, marked)
        assert close.shape[0] == close.shape[1] <= 300
        assert np.count_nonzero(close[..., 0]) == 60
