"""Difference to a good template."""

from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
import torch

from core.errors import BadSettings
from data.defects.recipe import Recipe
from data.defects.scale import measure_scale
from models.detectors.catalogue import build_detector
from models.detectors.template_difference import TemplateDifference, opened
from models.evaluate import compared_with
from models.exported import ExportedInspector
from models.inspection.export import export
from models.inspection.inspector import Inspector
from models.training.budget import Plan
from models.training.crops import CropPlan
from models.training.fit import Spec, fit
from tests.models.detector_tests import DetectorTests
from tests.models.moved_part import moved, seen
from tests.models.test_siam_nested_unet import print_of


class TestTemplateDifference(DetectorTests):
    name = "template_difference"
    settings: ClassVar[dict[str, Any]] = {}

    def test_loss_has_gradients_for_everything_that_learns(self) -> None:
        pytest.skip("nothing is learned")


def test_opening_is_that_of_opencv() -> None:
    maps = np.random.default_rng(0).random((40, 50)).astype(np.float32)
    for side in (1, 3, 5):
        wanted = cv2.morphologyEx(maps, cv2.MORPH_OPEN, np.ones((side, side), np.uint8))
        assert np.array_equal(opened(torch.from_numpy(maps)[None, None], side)[0, 0].numpy(), wanted)


def test_what_is_a_pixel_off_is_tolerated_and_what_is_two_is_not() -> None:
    """A line three pixels wide, moved; by brute force, over all places within the tolerance."""
    image, template = torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)
    template[..., 10:13] = 1.0
    image[..., 12:15] = 1.0
    assert TemplateDifference(1, tolerance=2, opening=1).apart(image, template).max() == 0
    off = TemplateDifference(1, tolerance=1, opening=1).apart(image, template)
    assert torch.equal(off[0, 0, 5].nonzero().flatten(), torch.tensor([11, 14]))
    x, y = torch.rand(1, 2, 20, 24), torch.rand(1, 2, 20, 24)
    found = TemplateDifference(2, tolerance=1, opening=1).apart(x, y)
    for row in range(20):
        for column in range(24):
            near = y[0, :, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].flatten(1)
            here = x[0, :, row, column]
            wanted = torch.maximum(here - near.amax(1), near.amin(1) - here).clamp(min=0).max()
            assert torch.equal(found[0, 0, row, column], wanted)


@pytest.mark.parametrize("move", [{}, {"shift": (6.4, -3.2)}, {"turn": 1.5}, {"light": 0.7}])
def test_what_a_template_does_not_show_is_found_where_the_part_lies(move: dict[str, Any]) -> None:
    images = [moved(print_of(n), shift=(n % 3, 0))[0] for n in range(8)]
    crops = CropPlan(Recipe(), measure_scale(images), 64, 0, "none", 1)
    detector, log = fit(images, crops, Spec("template_difference", side=64), Plan(60.0, threads=1))
    assert log.templates >= 1 and log.matched == 8
    spotted = print_of(100)
    cv2.circle(spotted, (120, 88), 5, 60, -1, cv2.LINE_AA)
    (good, affine), (bad, _) = moved(print_of(100), **move), moved(spotted, **move)
    with torch.no_grad():
        fine, (anomaly, judged) = detector(seen(good)), detector.map_and_judged(seen(bad))
    inside = anomaly[0, 0, 32:160, 32:192]
    place = int(inside.argmax())
    row, column = 16 + place // 160, 16 + place % 160
    there = affine @ [120, 88, 1]
    assert judged is not None and bool(judged)
    assert float(inside.max()) > 2 * float(fine[0, 0, 32:160, 32:192].max())
    assert np.hypot(row - there[1], column - there[0]) < 6


@pytest.mark.parametrize("channels", [1, 3])
def test_the_exported_file_takes_the_best_of_several_templates(channels: int, tmp_path: Path) -> None:
    """Torch and onnxruntime agree on prints of two variants, and on what is neither."""
    variants = [print_of(1).repeat(channels, 2), np.ascontiguousarray(print_of(2)[::-1, ::-1]).repeat(channels, 2)]
    detector = TemplateDifference(channels).eval()
    detector.bank.hold(torch.cat([seen(one) for one in variants]))
    inspector = Inspector([detector], 1.0).eval()
    properties = {"product": "p", "batch": "b", "detector": "-", "threshold": "0", "pixel_threshold": "0"}
    export(inspector, tmp_path / "m.onnx", channels, properties)
    exported = ExportedInspector(tmp_path / "m.onnx")
    rng = np.random.default_rng(3)
    for image in (*variants, rng.integers(0, 255, variants[0].shape).astype(np.uint8)):
        part = moved(image, shift=(4.3, -2.7), turn=0.7)[0]
        with torch.no_grad():
            anomaly, _, _, judged = inspector(torch.from_numpy(part)[None])
        said = exported.inspect(part)
        assert np.allclose(said.map, anomaly[0].numpy(), atol=2e-3) and said.judged == bool(judged)
        assert said.judged == any(image is one for one in variants)


def test_the_report_shows_the_templates_once_of_detectors_that_are_read() -> None:
    """Two views hold the same templates; a detector that the fusion leaves out shows none."""
    empty, one, other = TemplateDifference(1), TemplateDifference(1), TemplateDifference(1)
    for detector in (one, other):
        detector.bank.hold(seen(print_of(1)))
    logs = [{"matched": number} for number in range(3)]
    found = compared_with([empty, one, other], logs, (0, 1, 2))
    assert len(found["templates"]) == 1 and found["matched"] == 1
    assert compared_with([empty, one, other], logs, (0,)) == {}


def test_without_templates_it_takes_no_part() -> None:
    detector = build_detector("template_difference", 1, {})
    with torch.no_grad():
        assert not detector.declines and torch.all(detector(seen(print_of(1))) == 0)


@pytest.mark.parametrize("settings", [{"opening": 2}, {"sure": 0.0}, {"search": 0.7}, {"tolerance": 5}])
def test_impossible_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(BadSettings):
        build_detector("template_difference", 1, settings)
