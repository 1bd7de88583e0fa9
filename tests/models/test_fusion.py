"""Which views count, and how smooth: chosen on tuning images only."""

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from models.detector import Detector
from models.exam import ExamImage
from models.fusion import choose_fusion
from models.inspector import Inspector, Reading, fit_fusion
from models.objective import judge, look, objective_of, tune_set
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
