"""Uninformed Students: dense descriptors are those of the patches, and the map is the published sum."""

from typing import Any, ClassVar

import pytest
import torch

from core.errors import BadSettings
from models.detectors.catalogue import build_detector
from models.detectors.uninformed_students import UninformedStudents, error_and_variance
from models.teachers.patch_network import LAYERS, PatchNetwork
from models.trainable import TrainingBatch
from tests.models.detector_tests import DetectorTests


class TestUninformedStudents(DetectorTests):
    name = "uninformed_students"
    settings: ClassVar[dict[str, Any]] = {"width": 8, "outputs": 16, "students": 2}
    steps = 50


def of_one_patch(network: PatchNetwork, patch: torch.Tensor) -> torch.Tensor:
    """The plain network on one patch (1, C, side, side): convolutions, and poolings of stride 2."""
    convolutions = iter(network.convolutions)
    for kernel in LAYERS[network.side]:
        if kernel == 0:
            patch = torch.nn.functional.max_pool2d(patch, 2)
        else:
            patch = torch.nn.functional.leaky_relu(next(convolutions)(patch), 0.005)
    assert patch.shape[-2:] == (1, 1)
    return network.last(patch)[:, :, 0, 0]


@pytest.mark.parametrize("side", LAYERS)
@pytest.mark.parametrize("grid", [1, 2, 4])
def test_a_dense_descriptor_is_that_of_the_patch_cut_out(side: int, grid: int) -> None:
    torch.manual_seed(side)
    network = PatchNetwork(side, 1, 4, 6).eval()
    image = torch.randn(1, 1, 96, 128)
    with torch.no_grad():
        dense = network(image, grid)
        assert dense.shape == (1, 6, 96 // grid, 128 // grid)
        padded = torch.nn.functional.pad(image, (side // 2,) * 4)
        for i, j in ((0, 0), (5, 7), (96 // grid - 1, 128 // grid - 1), (11, 20)):
            y, x = grid * i + grid // 2, grid * j + grid // 2
            patch = padded[:, :, y : y + side, x : x + side]  # about pixel (y, x)
            assert torch.allclose(dense[:, :, i, j], of_one_patch(network, patch), atol=1e-5)


def test_every_pixel_of_a_patch_counts_and_none_beyond_it() -> None:
    for side in LAYERS:
        image = torch.zeros(1, 1, 96, 96, requires_grad=True)
        network = PatchNetwork(side, 1, 8, 6)
        noise = torch.randn(1, 1, 96, 96)
        network(image + noise, 1)[0, :, 48, 48].abs().sum().backward()
        assert image.grad is not None
        seen = image.grad[0, 0].nonzero()
        assert seen.min() >= 48 - side // 2 and seen.max() <= 48 + side // 2
        assert seen.max() - seen.min() >= side - 3  # poolings pass on one pixel of four


def test_error_and_variance_worked_by_hand() -> None:
    # One place, two dimensions; the teacher says (1, 2), the students (1, 0) and (3, 2): their mean is (2, 1).
    wanted = torch.tensor([1.0, 2.0]).reshape(1, 2, 1, 1)
    given = torch.tensor([[1.0, 0.0], [3.0, 2.0]]).reshape(2, 1, 2, 1, 1)
    error, variance = error_and_variance(wanted, given).flatten()
    assert error == pytest.approx((1 + 1) / 2) and variance == pytest.approx(1.0)


def test_map_is_the_sum_in_units_of_good_crops_averaged_over_sides() -> None:
    detector = UninformedStudents(1, sides=(17, 33), width=4, outputs=8).eval()
    x = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        for ensemble in detector.ensembles:
            wanted, given = ensemble.describe(x)  # type: ignore[operator]
            for _ in range(400):
                ensemble.watch(wanted, given)  # type: ignore[operator]
            for values, (mean, square) in zip(error_and_variance(wanted, given), ensemble.statistics, strict=True):
                assert mean == pytest.approx(float(values.mean()), rel=1e-4)
                assert square - mean**2 == pytest.approx(float(values.var()), rel=1e-2)
            assert ensemble(x).mean().abs() < 1e-3  # on what was watched neither is above its mean
        by_hand = torch.stack([ensemble(x) for ensemble in detector.ensembles]).mean(0)
        wanted = torch.nn.functional.interpolate(by_hand, size=(64, 64), mode="bilinear", align_corners=False)
        assert torch.allclose(detector(x), wanted, atol=1e-4)


def test_students_that_know_their_teacher_by_heart_are_neither_wrong_nor_at_odds() -> None:
    detector = UninformedStudents(3, sides=(17,), width=4, outputs=8)
    ensemble = detector.ensembles[0]
    for student in ensemble.students:  # type: ignore[union-attr]
        student.load_state_dict(ensemble.teacher.state_dict())  # type: ignore[union-attr]
    wanted, given = ensemble.describe(torch.randn(1, 3, 64, 64))  # type: ignore[operator]
    assert error_and_variance(wanted, given).max() < 1e-8


def test_students_trained_on_one_image_until_they_converge_see_nothing_there() -> None:
    torch.manual_seed(0)
    detector = UninformedStudents(1, sides=(17,), width=16, outputs=4, students=2).train()
    x = torch.randn(1, 1, 32, 32)
    detector.prepare(x)
    optimiser = torch.optim.Adam([p for p in detector.parameters() if p.requires_grad], 3e-3)
    for _ in range(400):
        optimiser.zero_grad()
        loss = detector.training_loss(TrainingBatch(x, torch.zeros_like(x), torch.zeros(1)), 0.0)
        loss.backward()
        optimiser.step()
    error, variance = error_and_variance(*detector.ensembles[0].describe(x))  # type: ignore[operator]
    other, _ = error_and_variance(*detector.ensembles[0].describe(torch.randn(1, 1, 32, 32)))  # type: ignore[operator]
    assert error.mean() < 0.02 and variance.mean() < 0.02 and other.mean() > 0.3


@pytest.mark.parametrize("settings", [{"sides": (17, 20)}, {"sides": ()}, {"students": 0}])
def test_settings_that_cannot_be_had_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(BadSettings, match=r"uninformed_students\.(sides|students)"):
        build_detector("uninformed_students", 1, settings)
