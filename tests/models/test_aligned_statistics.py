"""Aligned statistics: they find what is unlike at its place, wherever the part lies, and say nothing of what does not align."""

from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
import torch
from scipy.stats import median_abs_deviation
from torch import Tensor

from core.errors import BadSettings
from data.sample.pictures import render_good
from models.detectors import aligned_statistics
from models.detectors.aligned_statistics import AlignedStatistics, Scale, _evenly
from models.detectors.catalogue import build_detector
from models.detectors.detector import Whole
from models.detectors.registration import Registration
from models.detectors.template_frame import Registered
from models.evaluation.exam import LabelledImage
from models.evaluation.fusion import choose_fusion
from models.evaluation.objective import tune_set
from models.exported import ExportedInspector
from models.inspection.export import export
from models.inspection.inspector import MARGIN, Inspector, raw_maps
from tests.models.detector_tests import DetectorTests, good_image
from tests.models.moved_part import moved, seen
from tests.models.test_fusion import Brightness, glinting, surface

TOLD = {"product": "p", "batch": "b", "detector": "d", "threshold": "0", "pixel_threshold": "0"}


class TestAlignedStatistics(DetectorTests):
    name = "aligned_statistics"
    settings: ClassVar[dict[str, Any]] = {}

    def test_loss_has_gradients_for_everything_that_learns(self) -> None:
        assert not list(build_detector(self.name, 1, self.settings).parameters())


def whole(image: np.ndarray) -> Whole:
    return Whole(seen(image), slice(MARGIN, MARGIN + image.shape[0]), slice(MARGIN, MARGIN + image.shape[1]))


def built(images: list[np.ndarray], **settings: Any) -> AlignedStatistics:
    detector = AlignedStatistics(images[0].shape[2], **settings).eval()
    detector.build_memory_bank((whole(image) for image in images), len(images))
    return detector


def raw(detector: AlignedStatistics, image: np.ndarray) -> Tensor:
    return raw_maps(Inspector([detector], 1.0).eval(), image)[0][0, 0]


@pytest.fixture(scope="module")
def plates() -> AlignedStatistics:
    return built([render_good(i, 1) for i in range(12)])


def with_spot(image: np.ndarray) -> np.ndarray:
    """A dark spot that is lighter than the bores: unlike its place, and unlike nothing else."""
    spotted = image.copy()
    cv2.circle(spotted, (90, 140), 3, int(image[140, 90, 0]) - 45, -1, cv2.LINE_AA)
    return spotted


class InPlace(Registration):
    """Finds every part where the template has it."""

    def forward(self, images: Tensor) -> Registered:
        found = super().forward(images)
        return Registered(torch.eye(3).expand_as(found.affine), torch.ones_like(found.confidence), found.frame, found.chosen)


@pytest.mark.parametrize("number", [40, 41, 42])
def test_a_defect_is_found_at_its_place_also_when_the_part_is_shifted_and_turned(plates: AlignedStatistics, number: int) -> None:
    clean = render_good(number, 1)
    for move in ({}, {"shift": (6.0, -6.0), "turn": 2.0}):
        (part, affine), (defective, _) = moved(clean, **move), moved(with_spot(clean), **move)
        before, after = raw(plates, part), raw(plates, defective)
        assert after.max() > 1.5 * before.max()
        y, x = np.unravel_index(int(after.argmax()), after.shape)
        assert np.hypot(*(affine @ [90, 140, 1] - [x, y])) < 6


class Unregistered(AlignedStatistics):
    registers = InPlace


def test_without_registration_it_would_not_be_found() -> None:
    detector = Unregistered().eval()
    detector.build_memory_bank([whole(render_good(i, 1)) for i in range(12)], 12)
    move = {"shift": (6.0, -6.0), "turn": 2.0}
    clean, defective = (raw(detector, moved(image, **move)[0]) for image in (render_good(40, 1), with_spot(render_good(40, 1))))
    assert defective.max() < 1.05 * clean.max()


@pytest.mark.parametrize("stride", [1, 4])
def test_location_and_spread_are_those_of_numpy_and_scipy(stride: int) -> None:
    rng = np.random.default_rng(5)
    stack = rng.normal(0, 1, (9, 2, 32, 64)).astype(np.float32) * np.linspace(1, 3, 64, dtype=np.float32)
    stack[:6, :, :, 40:] = np.nan  # seen by three alone
    stack[2, :, :8, :8] = np.nan  # by eight: the mean of the middle two
    scale = Scale(2, stride)
    scale.take(torch.from_numpy(stack))
    squares = stack
    if stride == 4:  # of 8 px a side, known only where all of them are
        padded = np.pad(stack, ((0, 0), (0, 0), (2, 2), (2, 2)), constant_values=np.nan)
        squares = np.lib.stride_tricks.sliding_window_view(padded, (8, 8), (2, 3))[:, :, ::4, ::4].mean((4, 5))
    known = (~np.isnan(squares[:, 0])).sum(0) >= 5
    assert 40 < known.sum() < known.size
    assert np.array_equal(scale.covered[0, 0].numpy() > 0, known)
    assert np.allclose(scale.location[0].numpy()[:, known], np.nanmedian(squares[:, :, known], 0), atol=1e-5)
    deviation = median_abs_deviation(squares[:, :, known], 0, scale="normal", nan_policy="omit")
    slope = scale._slope()[0].numpy()[:, known]
    floor = np.quantile(deviation, 0.5, method="lower")
    wanted = np.maximum(np.hypot(deviation, aligned_statistics.SLACK * slope), floor)
    assert np.allclose(scale.spread[0].numpy()[:, known], wanted, rtol=1e-4)


def test_a_map_is_in_spreads_of_the_good_images() -> None:
    """Parts that do not move, with the same noise everywhere: most places of a good image are within a few spreads, and what is
    eight spreads too bright says so."""
    rng, base = np.random.default_rng(2), render_good(3, 1).astype(np.float32)
    images = [np.clip(base + rng.normal(0, 4, base.shape), 0, 255).astype(np.uint8) for _ in range(21)]
    detector = built(images[:20])
    good = raw(detector, images[20])
    assert 0.5 < float(detector.rest) < 1.5 and float(good.median()) == pytest.approx(float(detector.rest), abs=0.2)
    brighter = images[20].astype(np.float32)
    brighter[150:160, 120:130] += 32
    found = raw(detector, np.clip(brighter, 0, 255).astype(np.uint8))[150:160, 120:130]
    assert 5 < float(found.median()) < 40  # the mean over a square has a smaller spread


@pytest.mark.parametrize("channels", [1, 3])
def test_the_exported_file_agrees_wherever_the_part_lies(channels: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    detector = built([render_good(i, 1).repeat(channels, 2) for i in range(8)])
    inspector = Inspector([detector], 1.0).eval()
    export(inspector, tmp_path / "model.onnx", channels, TOLD)
    exported = ExportedInspector(tmp_path / "model.onnx")
    parts = [
        moved(render_good(20, 1), (6.3, -2.0), 2.0)[0],
        render_good(21, 1)[:241, :203],
        np.pad(render_good(22, 1), ((9, 12), (0, 21), (0, 0)), mode="edge"),
        rng.integers(0, 255, (100, 130, 1), np.uint8),
    ]
    for part in parts:
        image = np.ascontiguousarray(part.repeat(channels, 2))
        with torch.no_grad():
            wanted, score, verdict, judged = inspector(torch.from_numpy(image)[None])
        found = exported.inspect(image)
        assert found.judged == bool(judged) and found.verdict == bool(verdict)
        assert np.abs(found.map - wanted[0].numpy()).max() <= 1e-3 and found.score == pytest.approx(float(score[0]), abs=1e-3)


@torch.no_grad()
def test_images_of_a_batch_do_not_touch_each_other(plates: AlignedStatistics) -> None:
    parts = [moved(render_good(30 + i, 1), (4.0 * i, 1.0))[0] for i in range(3)]
    together = plates(seen(*parts))
    alone = torch.cat([plates(seen(part)) for part in parts])
    assert torch.allclose(together, alone, atol=1e-3)


def test_another_build_gives_the_same_state(plates: AlignedStatistics) -> None:
    again = built([render_good(i, 1) for i in range(12)]).state_dict()
    loaded = AlignedStatistics()
    loaded.load_state_dict(again)
    for one, other in zip(plates.state_dict().values(), loaded.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(raw(plates, render_good(30, 1)), raw(loaded.eval(), render_good(30, 1)))


def texture(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 1, (128, 160)).astype(np.float32)
    grain = cv2.GaussianBlur(noise, (0, 0), 1.5)
    return np.clip(128 + 40 * grain / grain.std(), 0, 255).astype(np.uint8)[..., None]


def test_of_parts_that_do_not_align_it_says_nothing() -> None:
    detector = AlignedStatistics().eval()
    images = [texture(i) for i in range(8)]
    assert detector.build_memory_bank([whole(image) for image in images], 8) == 0.0
    assert not raw(detector, images[0]).any()
    detector.build_memory_bank([whole(render_good(0, 1))] * 3, 3)  # and of too few
    assert not raw(detector, render_good(0, 1)).any()


def test_an_exam_leaves_it_out_where_nothing_aligns() -> None:
    good = [surface(i) for i in range(6)]
    tune = tune_set([LabelledImage(f"good-{i}", one) for i, one in enumerate(good)], [glinting(200 + i) for i in range(4)], 1.0)
    fusion = choose_fusion([Brightness(), built(good)], [1, 1], tune)
    assert fusion.left_out == "feature_distance" and fusion.chosen == (0,)


def test_it_rests_where_a_part_is_not_found(plates: AlignedStatistics) -> None:
    rest = float(plates.rest)
    assert rest > 0 and torch.all(raw(plates, np.random.default_rng(0).integers(0, 255, (200, 180, 1), np.uint8)) == rest)
    wide = np.pad(render_good(30, 1), ((0, 0), (0, 120), (0, 0)), mode="edge")
    assert torch.all(raw(plates, wide)[:, 290:] == rest)  # no good image shows what is there


def test_a_stranger_among_good_images_is_left_out(plates: AlignedStatistics) -> None:
    images = [render_good(i, 1) for i in range(12)]
    detector = built([*images, texture(1), np.zeros((256, 256, 1), np.uint8)])
    assert float(detector.rest) == pytest.approx(float(plates.rest), abs=0.1)
    clean = render_good(40, 1)
    assert raw(detector, with_spot(clean)).max() > 1.5 * raw(detector, clean).max()


def test_images_are_chosen_evenly() -> None:
    assert _evenly(5, 64) == set(range(5)) and _evenly(7, 4) == {0, 2, 4, 6} and len(_evenly(1000, 64)) == 64
    assert {0, 999} <= _evenly(1000, 64)


@pytest.mark.parametrize("settings", [{"sure": 0.0}, {"strides": (2, 4)}, {"strides": ()}, {"strides": (1, 3)}, {"search": -0.1}])
def test_settings_that_cannot_be_had_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(BadSettings):
        build_detector("aligned_statistics", 1, settings)


def beside() -> np.ndarray:
    """A part that lies 120 px too far to the right: more than is searched, and half of it is not in the picture."""
    part = render_good(40, 1)
    picture = np.full_like(part, int(np.median(part[:4])))
    picture[:, 120:] = part[:, :136]
    return picture


FOUND = (
    lambda: render_good(40, 1),
    lambda: with_spot(render_good(41, 1)),
    lambda: moved(render_good(42, 1), (6.3, -2.0), 2.0)[0],
)
NOT_FOUND = (beside, lambda: good_image(0), lambda: texture(3), lambda: np.full((256, 256, 1), 90, np.uint8))
"""Moved out of reach, another product, a picture of no part, an empty place."""


@torch.no_grad()
@pytest.mark.parametrize("flips", [1, 2])
def test_what_is_not_found_is_not_judged_and_never_passed(plates: AlignedStatistics, flips: int, tmp_path: Path) -> None:
    inspector = Inspector([plates], 1.0, flips=flips).eval()
    inspector.threshold.fill_(1e6)  # by its score every part would pass
    export(inspector, tmp_path / "model.onnx", 1, TOLD)
    exported = ExportedInspector(tmp_path / "model.onnx")
    assert inspector.declines and exported.declines
    for pictures, wanted in ((FOUND, True), (NOT_FOUND, False)):
        for picture in (make() for make in pictures):
            _, score, verdict, judged = inspector(torch.from_numpy(picture)[None])
            assert bool(judged) == wanted and bool(verdict) != wanted and float(score) < 1e6
            seen_by_file = exported.inspect(picture)
            assert seen_by_file.judged == wanted and seen_by_file.verdict != wanted


@torch.no_grad()
def test_each_image_of_a_batch_is_judged_for_itself(plates: AlignedStatistics) -> None:
    pictures = np.stack([render_good(40, 1), beside(), render_good(41, 1)])
    assert Inspector([plates], 1.0).eval()(torch.from_numpy(pictures))[3].tolist() == [True, False, True]


@torch.no_grad()
def test_what_is_judged_has_a_map_of_full_weight(plates: AlignedStatistics) -> None:
    """Below ``sure`` the map fades over ``FADE``: such an image still shows something, and is not judged."""
    picture = seen(with_spot(render_good(40, 1)))
    confidence, sure = float(plates.registration(picture).confidence), plates.sure
    whole_map = plates(picture)
    try:
        for above, judged, weight in ((0.0, True, 1.0), (0.02, False, 0.6), (0.04, False, 0.2), (0.06, False, 0.0)):
            plates.sure = confidence + above - 1e-6
            anomaly, said = plates.map_and_judged(picture)
            assert said is not None and bool(said) == judged
            assert torch.allclose(anomaly, plates.rest + weight * (whole_map - plates.rest), atol=2e-3)
    finally:
        plates.sure = sure


def test_without_a_template_it_takes_no_part(tmp_path: Path) -> None:
    detector = built([texture(i) for i in range(8)])
    assert not detector.declines and detector.map_and_judged(seen(texture(0)))[1] is None
    inspector = Inspector([detector], 1.0).eval()
    export(
        inspector,
        tmp_path / "model.onnx",
        1,
        TOLD,
    )
    exported = ExportedInspector(tmp_path / "model.onnx")
    assert len(inspector(torch.from_numpy(texture(0))[None])) == 3
    assert not exported.declines and exported.inspect(texture(0)).judged
