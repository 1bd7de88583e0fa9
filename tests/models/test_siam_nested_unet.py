"""Siam-NestedUNet: its own form, and that it finds what differs from a template, wherever the part lies."""

from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from core.errors import BadSettings
from data.defects.recipe import Recipe
from data.defects.scale import measure_scale
from models.detectors.catalogue import build_detector
from models.detectors.channel_attention import EnsembleAttention
from models.detectors.siam_nested_unet import REST, SiamNestedUNet
from models.trainable import TrainingBatch
from models.training.budget import Plan
from models.training.crops import CropPlan
from models.training.fit import Spec, fit
from tests.models.detector_tests import DetectorTests
from tests.models.moved_part import moved, seen

SMALL: dict[str, Any] = {"encoder": "tu-resnet10t", "depth": 3, "widths": (8, 12)}


class TestSiamNestedUNet(DetectorTests):
    name = "siam_nested_unet"
    settings: ClassVar[dict[str, Any]] = SMALL
    steps = 80


def print_of(seed: int, light: float = 1.0) -> np.ndarray:
    """A print of one design (160, 192, 1): bars and discs that no other place repeats, with the noise of ``seed``."""
    design, rng = np.random.default_rng(77), np.random.default_rng(seed)
    image = np.full((160, 192), 170.0, np.float32)
    for _ in range(22):
        x, y = design.uniform(8, 184), design.uniform(8, 152)
        dark = design.uniform(20, 110)
        if design.random() < 0.5:
            cv2.circle(image, (int(x), int(y)), int(design.uniform(4, 11)), dark, -1, cv2.LINE_AA)
        else:
            end = int(x + design.uniform(-40, 40)), int(y + design.uniform(-40, 40))
            cv2.line(image, (int(x), int(y)), end, dark, int(design.uniform(2, 6)), cv2.LINE_AA)
    return np.clip(light * image + rng.normal(0, 2.0, image.shape), 0, 255).astype(np.uint8)[..., None]


@pytest.fixture(scope="module")
def trained() -> SiamNestedUNet:
    """On eight prints."""
    images = [moved(print_of(n), shift=(n % 3, -(n % 2)))[0] for n in range(8)]
    spec = Spec("siam_nested_unet", SMALL, learning_rate=5e-3, side=64, batch_size=8, hard_negatives=False)
    crops = CropPlan(Recipe(), measure_scale(images), 64, 0, "linear", 3)
    detector, log = fit(images, crops, spec, Plan(600.0, 80, 0, threads=2))
    assert isinstance(detector, SiamNestedUNet) and log.steps == 80
    return detector


def largest(detector: SiamNestedUNet, image: np.ndarray) -> tuple[float, tuple[int, int]]:
    """Of the map within the image's middle, and where."""
    with torch.no_grad():
        anomaly = detector(seen(image))[0, 0, 16:176, 16:208]
    place = int(anomaly[24:-24, 24:-24].argmax())
    return float(anomaly[24:-24, 24:-24].max()), (24 + place // 144, 24 + place % 144)


@pytest.mark.parametrize("move", [{}, {"shift": (6.4, -3.2)}, {"turn": 1.5}, {"light": 0.8}])
def test_what_a_template_does_not_show_is_found_where_the_part_lies(trained: SiamNestedUNet, move: dict[str, Any]) -> None:
    """A disc like those of the design, at a place where the design has none: only a comparison can tell."""
    image = print_of(100)
    spotted = image.copy()
    cv2.circle(spotted, (120, 88), 5, 60, -1, cv2.LINE_AA)
    (good, affine), (bad, _) = moved(image, **move), moved(spotted, **move)
    there = affine @ [120, 88, 1]
    high, (row, column) = largest(trained, bad)
    assert high > largest(trained, good)[0] + 2.0
    assert np.hypot(row - there[1], column - there[0]) < 8


def test_what_is_not_found_is_not_compared(trained: SiamNestedUNet) -> None:
    """Another product: the map rests, and confidence says so."""
    other = np.random.default_rng(5).normal(120, 30, (20, 24)).astype(np.float32)
    image = np.clip(cv2.resize(other, (192, 160), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)[..., None]
    with torch.no_grad():
        anomaly, confidence = trained.compared(seen(image))
        _, judged = trained.map_and_judged(seen(image))
        _, fine = trained.map_and_judged(seen(print_of(101)))
    assert float(confidence) < trained.sure - 0.1 and torch.all(anomaly == REST)
    assert trained.declines and judged is not None and not bool(judged) and fine is not None and bool(fine)


def test_nodes_take_what_the_paper_says() -> None:
    """Fang 2021, eq. 1, in numbers of channels: both encoders' features at the level, all nodes before, and the one below."""
    network = SiamNestedUNet(1, "plain8", 4, (5, 6, 7))
    encoder = [8, 16, 32, 64]
    for level in range(3):
        for column in range(1, 4 - level):
            below = encoder[level + 1] if column == 1 else (5, 6, 7)[level + 1]
            convolution = network.nodes[f"{level}-{column}"].first  # type: ignore[union-attr]
            assert convolution.in_channels == 2 * encoder[level] + (column - 1) * (5, 6, 7)[level] + below  # type: ignore[union-attr]
    assert len(network.nodes) == 6 and not network.shuffles


def test_both_sides_go_through_the_same_encoder() -> None:
    """A pair of the same picture twice has the deepest difference 0; early fusion has no such thing."""
    network = SiamNestedUNet(1, **SMALL).eval()
    x = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        same, _, classes = network.heads(torch.cat([x, x], 1))
        bias = network.classify[1].bias
    assert same.shape == (2, 1, 64, 64) and torch.allclose(classes, bias.expand_as(classes), atol=1e-6)
    early = SiamNestedUNet(1, **SMALL, siamese=False)
    assert next(early.encoder.parameters()).shape[1] == 2


def test_attention_by_a_second_implementation() -> None:
    """Fang 2021, sec. II-B, written out with loops."""
    torch.manual_seed(0)
    attention = EnsembleAttention(3, 4)
    maps = [torch.randn(2, 4, 5, 7) for _ in range(3)]

    def weights(module: nn.Module, features: torch.Tensor) -> torch.Tensor:
        squeezed = features.double().mean((2, 3))
        narrow, wide = module.narrow, module.wide
        hidden = squeezed @ narrow.weight[:, :, 0, 0].double().T + narrow.bias.double()  # type: ignore[operator,index,union-attr]
        out = hidden.clamp(min=0) @ wide.weight[:, :, 0, 0].double().T + wide.bias.double()  # type: ignore[operator,index,union-attr]
        return 1.0 / (1.0 + torch.exp(-out))

    every = torch.cat(maps, 1)
    within, between = weights(attention.within, maps[0] + maps[1] + maps[2]), weights(attention.between, every)
    with torch.no_grad():
        found = attention(maps)
    for channel in range(12):
        wanted = between[:, channel, None, None] * (every[:, channel].double() + within[:, channel % 4, None, None])
        assert torch.allclose(found[:, channel].double(), wanted, atol=1e-6)


def test_where_nothing_matches_it_makes_one_step_and_says_nothing() -> None:
    rng = np.random.default_rng(1)
    images = [
        np.clip(cv2.resize(rng.normal(120, 40, (12, 12)).astype(np.float32), (96, 96)), 0, 255).astype(np.uint8)[..., None]
        for _ in range(8)
    ]
    spec = Spec("siam_nested_unet", SMALL, side=64, batch_size=8, hard_negatives=False)
    detector, log = fit(images, CropPlan(Recipe(), measure_scale(images), 64, 0, "linear", 1), spec, Plan(600.0, threads=1))
    assert log.steps == 1 and detector.bank.empty and not detector.declines
    with torch.no_grad():
        assert torch.all(detector(seen(images[0])) == REST)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"widths": (8,)}, "must be 2 numbers"), ({"sure": 0.0}, "must be above 0"),
        ({"siamese": False, "spread": 0.3}, "starts from no teacher"), ({"search": 0.9}, "must be 0 to 0.5"),
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(BadSettings, match=words):
        build_detector("siam_nested_unet", 1, {**SMALL, **settings})


def test_a_loss_without_templates_is_refused() -> None:
    network = build_detector("siam_nested_unet", 1, SMALL)
    batch = TrainingBatch(torch.zeros(1, 1, 64, 64), torch.zeros(1, 1, 64, 64), torch.zeros(1))
    with pytest.raises(BadSettings, match="learns from pairs"):
        network.training_loss(batch, 0.0)
