"""Which views count, and how smooth: chosen on tuning images only."""

from dataclasses import replace
from typing import ClassVar

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from models.detector import Detector, Kind
from models.exam import ExamImage
from models.fusion import choose_fusion
from models.inspector import Inspector, Reading, fit_fusion
from models.objective import judge, look, look_again, objective_of, tune_set
from models.preprocess import at_working_scale, smoothness, working_scale
from models.segmentation import SegmentationDetector
from models.view import views_of


class Darkness(Detector):
    """Finds what is darker than the rest, at the resolution it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        return -images[:, :1]


def surface(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 25, (128, 160))
    return np.clip(150 + noise, 0, 255).astype(np.uint8)[..., None]


def stained(seed: int) -> ExamImage:
    """A wide, faint stain, lost in the noise of single pixels."""
    label = np.zeros((128, 160), np.float32)
    cv2.circle(label, (80, 64), 40, 1.0, -1)
    image = np.clip(surface(seed).astype(np.float32) - 14 * label[..., None], 0, 255).astype(np.uint8)
    return ExamImage(f"stain-{seed}", image, label, "stain", 0.5)


def test_a_wide_faint_stain_is_found_by_a_wide_reading() -> None:
    good = [ExamImage(f"good-{i}", surface(i)) for i in range(6)]
    tune = tune_set(good, [stained(100 + i) for i in range(8)], 1.0)
    fusion = choose_fusion([Darkness(), Darkness()], [1, 8], tune)
    first = fusion.readings[0]
    assert first.view * first.pool * first.side >= 24
    assert fusion.value > fusion.tried["1/1 over 3 px"] + 0.05
    alone = choose_fusion([Darkness()], [8], tune)
    assert alone.chosen == (0,) and alone.reductions == (8,) and {reading.view for reading in alone.readings} == {8}


def test_judging_cached_maps_is_judging_the_inspector_itself() -> None:
    tune = tune_set([ExamImage(f"good-{i}", surface(i)) for i in range(4)], [stained(100 + i) for i in range(4)], 1.0)
    detectors = [Darkness(), Darkness()]
    looks = look(detectors, tune, [1, 4])
    judged = judge(looks, [Reading(1), Reading(4, 1, 3)])
    inspector = Inspector(list(detectors), 1.0, [1, 4], [Reading(1), Reading(4, 1, 3)]).eval()
    fit_fusion(inspector, looks.good)
    with torch.no_grad():
        good = [float(inspector(torch.from_numpy(image)[None])[1]) for image in tune.good]
        maps = [inspector(torch.from_numpy(exam.image)[None])[0][0, ::2, ::2].numpy() for exam in tune.defects]
    assert judged == objective_of(good, list(zip(tune.defects, maps, strict=True)))


class Headed(SegmentationDetector):
    """Sees the stain with its segmentation head alone; its classification head fires at random, or not at all."""

    def __init__(self, misleads: bool) -> None:
        super().__init__(1, 1.0)
        self.misleads = misleads

    def heads(self, images: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        fine = -images[:, :1]
        noise = torch.randn(
            fine.shape[0], 1, fine.shape[2] // 16, fine.shape[3] // 16, generator=torch.Generator().manual_seed(1)
        )
        return fine, [], 30 * noise if self.misleads else torch.full_like(noise, 20.0)


@pytest.mark.parametrize(("misleads", "guide"), [(True, 0.0), (False, 1.0)])
def test_a_classification_head_that_misleads_is_left_out_of_the_map(misleads: bool, guide: float) -> None:
    detector = Headed(misleads)
    tune = tune_set([ExamImage(f"good-{i}", surface(i)) for i in range(6)], [stained(100 + i) for i in range(8)], 1.0)
    assert choose_fusion([detector], [1], tune).guide == guide == detector.guide


def test_views_are_all_of_a_large_image_at_a_glance_and_one_of_a_small() -> None:
    small, large = np.zeros((100, 120, 1), np.uint8), np.zeros((640, 640, 1), np.uint8)
    assert [view.reduction for view in views_of([small] * 100, 128)] == [1]
    assert [view.reduction for view in views_of([large] * 99, 128)] == [1], "few images would be learned by heart"
    views = views_of([large] * 100, 128)
    assert [view.reduction for view in views] == [1, 7] and sum(view.share for view in views) == 1.0
    assert at_working_scale(large, 1.0, views[1].reduction).shape == (92, 92, 1)


def test_images_without_fine_detail_are_worked_on_at_half_their_size() -> None:
    rng = np.random.default_rng(0)
    noise = [rng.normal(128, 40, (500, 400)).astype(np.float32) for _ in range(3)]
    sharp = [np.clip(n, 0, 255).astype(np.uint8)[..., None] for n in noise]
    blurred = [np.clip(128 + 6 * (cv2.GaussianBlur(n, (0, 0), 3) - 128), 0, 255).astype(np.uint8)[..., None] for n in noise]
    assert smoothness(sharp) < 0.1 and smoothness(blurred) > 0.9
    assert working_scale(sharp, 10**6) == 1.0
    assert working_scale(blurred, 10**6) == 0.5  # and no smaller: 200 px are left
    assert working_scale(sharp, 50_000) == 0.5


class Brightness(Detector):
    """Finds what is brighter than the rest."""

    kind: ClassVar[Kind] = "segmentation"

    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        return images[:, :1]


def glinting(seed: int) -> ExamImage:
    """A small bright spot."""
    label = np.zeros((128, 160), np.float32)
    cv2.circle(label, (40, 40), 5, 1.0, -1)
    image = np.clip(surface(seed).astype(np.float32) + 90 * label[..., None], 0, 255).astype(np.uint8)
    return ExamImage(f"glint-{seed}", image, label, "glint", 0.5)


GOOD = [ExamImage(f"good-{i}", surface(i)) for i in range(6)]


def test_each_kind_is_read_for_what_it_sees() -> None:
    """What either sees alone is lost in the other: of both, one reading each."""
    tune = tune_set(GOOD, [*(stained(100 + i) for i in range(4)), *(glinting(200 + i) for i in range(4))], 1.0)
    fusion = choose_fusion([Brightness(), Darkness()], [1, 1], tune)
    assert {reading.kind for reading in fusion.readings} == {"segmentation", "comparison"} and fusion.chosen == (0, 1)
    alone = [choose_fusion([detector], [1], tune) for detector in (Brightness(), Darkness())]
    assert fusion.value > max(one.value for one in alone) + 0.1
    # What is tried of one kind is what is tried where it is the only one.
    assert {f"segmentation {name}": value for name, value in alone[0].tried.items() if "+" not in name}.items() <= (
        fusion.tried.items()
    )
    assert {reading.kind for one in alone for reading in one.readings} == {""}


def test_a_kind_that_brings_nothing_is_not_shipped_and_ties_go_to_the_segmentation() -> None:
    tune = tune_set(GOOD, [glinting(200 + i) for i in range(4)], 1.0)
    fusion = choose_fusion([Darkness(), Brightness()], [1, 1], tune)
    assert fusion.chosen == (1,) and fusion.reductions == (1,) and fusion.readings[0].kind == "segmentation"
    (alone,) = choose_fusion([Brightness()], [1], tune).readings
    assert replace(fusion.readings[0], kind="") == alone
    shipped, plain = (Inspector([Brightness()], 1.0, [1], [one]).eval() for one in (fusion.readings[0], alone))
    pixels = torch.from_numpy(surface(9))[None]
    assert all(torch.equal(a, b) for a, b in zip(shipped(pixels), plain(pixels), strict=True))

    twins = choose_fusion([Darkness(), Dark()], [1, 1], tune_set(GOOD, [stained(100 + i) for i in range(4)], 1.0))
    assert twins.chosen == (1,) and twins.readings[0].kind == "segmentation"


def test_what_compares_stands_alone_where_the_segmentation_sees_nothing() -> None:
    tune = tune_set(GOOD, [stained(100 + i) for i in range(4)], 1.0)
    fusion = choose_fusion([Brightness(), Darkness()], [1, 1], tune)
    assert fusion.chosen == (1,) and {reading.kind for reading in fusion.readings} == {"comparison"}


class Dark(Darkness):
    """The same, learned the other way."""

    kind: ClassVar[Kind] = "segmentation"


def test_looking_again_renews_only_what_changed() -> None:
    tune, detectors = tune_set(GOOD, [glinting(200)], 1.0), [Headed(misleads=True), Darkness()]
    looks = look(detectors, tune, [1, 1])
    before = {kind: looks.read(Reading(kind=kind)) for kind in ("segmentation", "comparison", "")}
    detectors[0].guide = 0.0  # type: ignore[assignment]  # a network with two heads
    again, anew = look_again(looks, [0]), look(detectors, tune, [1, 1])
    assert again.read(Reading(kind="comparison")) is before["comparison"]
    for kind in before:
        ours, theirs = again.read(Reading(kind=kind)), anew.read(Reading(kind=kind))
        assert np.array_equal(ours.good, theirs.good) and all(map(np.array_equal, ours.maps, theirs.maps))
    assert not np.array_equal(again.read(Reading(kind="segmentation")).good, before["segmentation"].good)
