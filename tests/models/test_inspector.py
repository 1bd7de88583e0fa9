"""The inspector: views, fusion, smoothing, region, and what it refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from core.errors import BadSettings
from models.detectors.detector import Detector
from models.exported import ExportedInspector
from models.inspection.export import export, set_threshold
from models.inspection.inspector import MARGIN, Inspector, MapPooling, fit_fusion, pool_map, raw_maps
from models.inspection.preprocess import normalise, reduce, resize
from models.inspection.region import Region


class Brightness(Detector):
    """The image itself as its map: what fusion makes of it can be worked by hand."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, images: Tensor) -> Tensor:
        return images[:, :1] * self.factor


def image(seed: int = 0, height: int = 40, width: int = 52) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 1), np.uint8)


def as_seen(pixels: np.ndarray, reduction: int = 1) -> Tensor:
    return normalise(reduce(torch.from_numpy(pixels)[None].permute(0, 3, 1, 2).float() / 255.0, reduction))[0, 0]


def test_one_detector_without_smoothing_gives_its_own_map() -> None:
    inspector = Inspector([Brightness()], 1.0, poolings=[MapPooling(1, 1, 1)]).eval()
    anomaly, score, verdict = inspector(torch.from_numpy(image())[None])
    assert torch.allclose(anomaly[0], as_seen(image()), atol=1e-6)
    assert score[0] == anomaly.max() and bool(verdict[0])


def test_networks_of_one_view_are_averaged_and_the_larger_of_two_views_counts() -> None:
    inspector = Inspector(
        [Brightness(1.0), Brightness(3.0), Brightness(5.0)], 1.0, [1, 1, 4], [MapPooling(1, 1, 1), MapPooling(4, 1, 1)]
    ).eval()
    anomaly, _, _ = inspector(torch.from_numpy(image())[None])
    fine = 2.0 * as_seen(image())
    wide = 5.0 * as_seen(image(), 4)
    enlarged = torch.nn.functional.interpolate(wide[None, None], scale_factor=4, mode="bilinear", align_corners=False)[0, 0]
    assert torch.allclose(anomaly[0], torch.maximum(fine, enlarged[:40, :52]), atol=1e-5)


def test_fusion_is_in_units_of_the_good_images_largest_values() -> None:
    inspector = Inspector([Brightness(), Brightness(100.0)], 1.0, [1, 2], [MapPooling(1, 1, 3), MapPooling(2, 4, 3)]).eval()
    good = [raw_maps(inspector, image(seed)) for seed in range(6)]
    fit_fusion(inspector, good)
    for number, pooling in enumerate(inspector.poolings):
        maps = [pool_map(pooling, raw[number]) for raw in good]
        largest = [float(one.max()) for one in maps]
        usual = 0.3 * (np.mean(largest) - np.mean([float(one[..., ::4, ::4].median()) for one in maps]))
        # Six images give five degrees of freedom, the usual value four.
        wanted = np.sqrt((5 * np.var(largest, ddof=1) + 4 * usual**2) / 9)
        assert float(inspector.centres[number, number]) == pytest.approx(np.mean(largest), rel=1e-4)
        assert float(inspector.spreads[number, number]) == pytest.approx(wanted, rel=1e-3)


def test_two_images_that_happen_to_agree_give_their_detector_no_weight_over_others() -> None:
    inspector = Inspector([Brightness()], 1.0, poolings=[MapPooling(1, 1, 1)]).eval()
    raw = raw_maps(inspector, image())
    fit_fusion(inspector, [raw, raw])
    above = float(raw[0].max() - raw[0][..., ::4, ::4].median())
    assert float(inspector.spreads[0, 0]) == pytest.approx(0.3 * above * np.sqrt(4 / 5), rel=1e-4)
    # Many images speak for themselves.
    noise = torch.Generator().manual_seed(0)
    many = [[raw[0] * float(factor)] for factor in 1.0 + 0.1 * torch.randn(400, generator=noise)]
    fit_fusion(inspector, many)
    own = float(torch.stack([one[0].max() for one in many]).std())
    assert float(inspector.spreads[0, 0]) == pytest.approx(own, rel=0.1) and own < 0.5 * 0.3 * above


def test_outside_the_region_nothing_rejects() -> None:
    pixels = np.full((40, 40, 1), 100, np.uint8)
    pixels[5, 5] = 255
    pixels[30, 30] = 180
    inspector = Inspector([Brightness()], 1.0, poolings=[MapPooling(1, 1, 1)], region=Region(0.5, 0.5, 1.0, 1.0)).eval()
    anomaly, _, _ = inspector(torch.from_numpy(pixels)[None])
    assert int(anomaly[0].argmax()) == 30 * 40 + 30


@pytest.mark.parametrize(
    "wrong",
    [{"poolings": [MapPooling(2)]}, {"poolings": [MapPooling(kind="segmentation")]}, {"reductions": [1, 2]}, {"flips": 3}],
)
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(BadSettings, match="inspector"):
        Inspector([Brightness()], 1.0, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"side": 4}, {"pool": 0}, {"view": -1}, {"kind": "stpm"}])
def test_impossible_readings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadSettings, match="pooling"):
        MapPooling(**wrong)


def test_a_reading_is_the_mean_over_its_square() -> None:
    raw = torch.randn(1, 1, 32, 48)
    seen = pool_map(MapPooling(1, 4, 3), raw)
    assert seen.shape == (1, 1, 8, 12)
    assert float(seen[0, 0, 3, 5]) == pytest.approx(float(raw[0, 0, 8:20, 16:28].mean()), abs=1e-6)


def test_reduction_is_the_mean_of_squares_and_resizing_skips_no_pixel() -> None:
    x = torch.arange(35.0).reshape(1, 1, 5, 7)
    small = reduce(x, 2)
    assert small.shape == (1, 1, 3, 4)
    assert float(small[0, 0, 0, 0]) == pytest.approx((0 + 1 + 7 + 8) / 4)
    assert float(small[0, 0, 2, 3]) == 34.0  # the corner, continued
    for scale in (0.5, 0.3, 0.2):
        for place in range(0, 40, 7):
            spot = torch.zeros(1, 1, 40, 40)
            spot[..., place, place] = 1.0
            assert resize(spot, scale).max() > 0.02, "a defect of one pixel is still there"


class Declining(Brightness):
    """Judges images whose upper left pixel, as detectors see it, is brighter than ``least``."""

    def __init__(self, least: float = 0.0) -> None:
        super().__init__()
        self.least = least

    @property
    def declines(self) -> bool:
        return True

    def map_and_judged(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        return self(images), images[:, 0, MARGIN, MARGIN] > self.least


def with_corner(*levels: int) -> Tensor:
    """Images (N, 32, 48, 1) around a level of 100, each with an upper left pixel of its own."""
    pictures = torch.from_numpy(np.stack([60 + image(0, 32, 48) % 80 for _ in levels]))
    pictures[:, 0, 0, 0] = torch.tensor(levels, dtype=torch.uint8)
    return pictures


def test_an_image_is_judged_if_every_detector_that_is_read_can() -> None:
    pictures = with_corner(20, 130, 250)
    one = Inspector([Brightness(), Declining()], 1.0).eval()
    assert one.declines and one(pictures)[3].tolist() == [False, True, True]
    two = Inspector([Declining(0.0), Declining(3.0)], 1.0).eval()
    assert two(pictures)[3].tolist() == [False, False, True]
    unread = Inspector([Brightness(), Declining()], 1.0, [1, 2], [MapPooling(1)]).eval()
    assert not unread.declines and len(unread(pictures)) == 3


def test_flips_do_not_change_who_is_judged() -> None:
    for flips in (1, 2, 4):
        assert Inspector([Declining()], 1.0, flips=flips).eval()(with_corner(20, 140))[3].tolist() == [False, True]


@given(levels=st.lists(st.integers(0, 255), min_size=1, max_size=4), threshold=st.floats(-10, 10), least=st.floats(-3, 5))
def test_nothing_is_passed_that_is_not_judged(levels: list[int], threshold: float, least: float) -> None:
    inspector = Inspector([Brightness(), Declining(least)], 1.0).eval()
    inspector.threshold.fill_(threshold)
    _, score, verdict, judged = inspector(with_corner(*levels))
    assert torch.all(verdict | judged)
    assert torch.equal(verdict[judged], (score > inspector.threshold)[judged])


def test_the_file_declines_as_the_inspector_does_at_every_threshold(tmp_path: Path) -> None:
    told = {"product": "p", "batch": "b", "detector": "d", "threshold": "nan", "pixel_threshold": "nan"}
    export(Inspector([Brightness(), Declining()], 1.0).eval(), tmp_path / "new.onnx", 1, told)
    export(Inspector([Brightness(), Brightness()], 1.0).eval(), tmp_path / "plain.onnx", 1, told)
    for threshold in (-5.0, 0.0, 5.0):
        for name in ("new", "plain"):
            set_threshold(tmp_path / f"{name}.onnx", threshold, threshold)
        exported, plain = (ExportedInspector(tmp_path / f"{name}.onnx") for name in ("new", "plain"))
        assert exported.declines and not plain.declines
        for level in (0, 20, 130, 250):
            picture = with_corner(level)[0].numpy()
            found, other = exported.inspect(picture), plain.inspect(picture)
            assert other.judged and other.verdict == (other.score > threshold)
            assert found.judged == (level > 100) and found.verdict == (found.score > threshold or level < 100)
