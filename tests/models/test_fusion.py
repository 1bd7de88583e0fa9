"""Which views count, and how smooth: chosen on tuning images only."""

from dataclasses import replace
from typing import ClassVar

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from core.errors import BadSettings
from models.detectors.detector import Detector, Kind
from models.detectors.segmentation import SegmentationDetector
from models.evaluation.exam import LabelledImage
from models.evaluation.fusion import choose_fusion
from models.evaluation.objective import cache_maps, evaluate_fusion, objective_of, tune_set, update_maps
from models.inspection.inspector import EVERY, Inspector, MapPooling, fit_fusion, raw_maps
from models.inspection.preprocess import smoothness, working_scale


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


def stained(seed: int) -> LabelledImage:
    """A wide, faint stain, lost in the noise of single pixels."""
    label = np.zeros((128, 160), np.float32)
    cv2.circle(label, (80, 64), 40, 1.0, -1)
    image = np.clip(surface(seed).astype(np.float32) - 14 * label[..., None], 0, 255).astype(np.uint8)
    return LabelledImage(f"stain-{seed}", image, label, "stain", 0.5)


def test_a_wide_faint_stain_is_found_by_a_wide_reading() -> None:
    good = [LabelledImage(f"good-{i}", surface(i)) for i in range(6)]
    tune = tune_set(good, [stained(100 + i) for i in range(8)], 1.0)
    fusion = choose_fusion([Darkness(), Darkness()], [1, 8], tune)
    first = fusion.poolings[0]
    assert first.view * first.pool * first.side >= 24
    assert fusion.value > fusion.tried["1/1 over 3 px"] + 0.05
    alone = choose_fusion([Darkness()], [8], tune)
    assert alone.chosen == (0,) and alone.reductions == (8,) and {pooling.view for pooling in alone.poolings} == {8}


def test_judging_cached_maps_is_judging_the_inspector_itself() -> None:
    tune = tune_set([LabelledImage(f"good-{i}", surface(i)) for i in range(4)], [stained(100 + i) for i in range(4)], 1.0)
    detectors = [Darkness(), Darkness()]
    cached = cache_maps(detectors, tune, [1, 4])
    judged = evaluate_fusion(cached, [MapPooling(1), MapPooling(4, 1, 3)])
    inspector = Inspector(list(detectors), 1.0, [1, 4], [MapPooling(1), MapPooling(4, 1, 3)]).eval()
    fit_fusion(inspector, cached.good)
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


@pytest.mark.parametrize(("misleads", "classification_weight"), [(True, 0.0), (False, 1.0)])
def test_a_classification_head_that_misleads_is_left_out_of_the_map(misleads: bool, classification_weight: float) -> None:
    detector = Headed(misleads)
    tune = tune_set([LabelledImage(f"good-{i}", surface(i)) for i in range(6)], [stained(100 + i) for i in range(8)], 1.0)
    assert choose_fusion([detector], [1], tune).classification_weight == classification_weight == detector.classification_weight


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


def glinting(seed: int) -> LabelledImage:
    """A small bright spot."""
    label = np.zeros((128, 160), np.float32)
    cv2.circle(label, (40, 40), 5, 1.0, -1)
    image = np.clip(surface(seed).astype(np.float32) + 90 * label[..., None], 0, 255).astype(np.uint8)
    return LabelledImage(f"glint-{seed}", image, label, "glint", 0.5)


GOOD = [LabelledImage(f"good-{i}", surface(i)) for i in range(6)]


def test_both_kinds_are_read_together_where_each_sees_something() -> None:
    tune = tune_set(GOOD, [*(stained(100 + i) for i in range(4)), *(glinting(200 + i) for i in range(4))], 1.0)
    fusion = choose_fusion([Brightness(), Darkness()], [1, 1], tune)
    assert {pooling.kind for pooling in fusion.poolings} == {""} and fusion.chosen == (0, 1) and fusion.left_out == ""
    alone = [choose_fusion([detector], [1], tune) for detector in (Brightness(), Darkness())]
    # Each kind weighs what it finds alone, on one drawn defect as on the other.
    found = {kind: max(v for k, v in fusion.tried.items() if k.startswith(kind)) for kind in ("segmentation", "feature_distance")}
    assert {fusion.share, *(pooling.share for pooling in fusion.poolings)} == {
        round(found["segmentation"] / sum(found.values()), 2)
    }
    # What is tried of one kind is what is tried where it is the only one.
    assert alone[0].tried["segmentation 1/1 over 3 px"] == fusion.tried["segmentation 1/1 over 3 px"]


def test_a_kind_that_is_blind_is_not_shipped() -> None:
    tune = tune_set(GOOD, [glinting(200 + i) for i in range(4)], 1.0)
    fusion = choose_fusion([Darkness(), Brightness()], [1, 1], tune)
    assert fusion.chosen == (1,) and fusion.reductions == (1,) and fusion.poolings[0].kind == "segmentation"
    assert fusion.left_out == "feature_distance" and fusion.share is None
    (alone,) = choose_fusion([Brightness()], [1], tune).poolings
    assert replace(fusion.poolings[0], kind="") == alone
    shipped, plain = (Inspector([Brightness()], 1.0, [1], [one]).eval() for one in (fusion.poolings[0], alone))
    pixels = torch.from_numpy(surface(9))[None]
    assert all(torch.equal(a, b) for a, b in zip(shipped(pixels), plain(pixels), strict=True))


def test_what_compares_stands_alone_where_the_segmentation_sees_nothing() -> None:
    tune = tune_set(GOOD, [stained(100 + i) for i in range(4)], 1.0)
    fusion = choose_fusion([Brightness(), Darkness()], [1, 1], tune)
    assert fusion.chosen == (1,) and {pooling.kind for pooling in fusion.poolings} == {"feature_distance"}


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_kinds_weigh_by_the_readings_share(share: float) -> None:
    detectors = [Brightness(), Darkness()]
    inspector = Inspector(list(detectors), 1.0, [1, 1], [MapPooling(1, 1, 3, "", share)]).eval()
    raw = [raw_maps(inspector, surface(i)) for i in range(4)]
    fit_fusion(inspector, raw)
    standard = [
        (inspector.seen_by(inspector.poolings[0], n, raw[0][n], 128, 160) - inspector.centres[0, n]) / inspector.spreads[0, n]
        for n in (0, 1)
    ]
    wanted = share * standard[0] + (1 - share) * standard[1]
    assert torch.allclose(inspector.fused(raw[0], 128, 160), wanted, atol=1e-5)


def test_a_share_that_is_none_is_refused() -> None:
    with pytest.raises(BadSettings, match=r"share of 0\.\.1"):
        MapPooling(share=1.1)


def test_maps_of_all_views_are_averaged_in_pixels_of_the_finest() -> None:
    """By hand: each map in units of its largest values on good images, the coarse ones enlarged first."""
    detectors, pooling = [Brightness(), Brightness()], MapPooling(EVERY, 1, 3)
    inspector = Inspector(list(detectors), 1.0, [1, 4], [pooling]).eval()
    images = [surface(i)[:125, :157] for i in range(4)]  # sizes that the coarse view does not divide
    raw = [raw_maps(inspector, image) for image in images]
    fit_fusion(inspector, raw)
    wanted = torch.zeros(1, 1, 125, 157)
    for number, factor in ((0, 1), (1, 4)):
        large = [
            torch.nn.functional.interpolate(maps[number], scale_factor=factor, mode="bilinear")[..., :125, :157] for maps in raw
        ]
        smooth = [torch.nn.functional.avg_pool2d(torch.nn.functional.pad(m, (1, 1, 1, 1), mode="replicate"), 3, 1) for m in large]
        largest = torch.stack([m.max() for m in smooth]).double()
        wanted += ((smooth[0] - largest.mean()) / inspector.spreads[0, number]).float() / 2
    assert torch.allclose(inspector.fused(raw[0], 125, 157), wanted, atol=1e-4)


def test_looking_again_renews_only_what_changed() -> None:
    tune, detectors = tune_set(GOOD, [glinting(200)], 1.0), [Headed(misleads=True), Darkness()]
    cached = cache_maps(detectors, tune, [1, 1])
    before = {kind: cached.pooled_by(MapPooling(kind=kind)) for kind in ("segmentation", "feature_distance", "")}
    detectors[0].classification_weight = 0.0  # type: ignore[assignment]  # a network with two heads
    again, anew = update_maps(cached, [0]), cache_maps(detectors, tune, [1, 1])
    assert again.pooled_by(MapPooling(kind="feature_distance")) is before["feature_distance"]
    for kind in before:
        ours, theirs = again.pooled_by(MapPooling(kind=kind)), anew.pooled_by(MapPooling(kind=kind))
        assert np.array_equal(ours.good, theirs.good) and all(map(np.array_equal, ours.maps, theirs.maps))
    assert not np.array_equal(again.pooled_by(MapPooling(kind="segmentation")).good, before["segmentation"].good)
