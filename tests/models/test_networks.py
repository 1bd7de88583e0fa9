"""The named networks have the parameters and operations that the competition report (seed ``002``) gives for them."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from models.detectors.catalogue import NETWORKS, build_detector

REPORTED = {"unet": (17.51, 11.85), "tiny_unet": (4.38, 2.98), "unet3plus_paper": (27.5, 49.58), "unet3plus_b1": (7.74, 6.11)}
"""Millions of parameters, GMac at 128 × 128."""


def operations(network: nn.Module, images: torch.Tensor) -> float:
    """Multiply-accumulates of one forward pass."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(images)
    return counter.get_total_flops() / 2


@pytest.mark.parametrize("name", REPORTED)
def test_parameters_and_operations_are_those_of_the_report_within_a_twentieth(name: str) -> None:
    family, settings = NETWORKS[name].detector.family, NETWORKS[name].settings
    network = build_detector(family, 1, settings).eval()
    parameters, macs = REPORTED[name]
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(parameters, rel=0.05)
    assert operations(network, torch.zeros(1, 1, 128, 128)) / 1e9 == pytest.approx(macs, rel=0.05)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_named_network_gives_a_map_of_the_images_size(name: str) -> None:
    family, settings = NETWORKS[name].detector.family, NETWORKS[name].settings
    network = build_detector(family, 3, settings).eval()
    with torch.no_grad():
        assert network(torch.randn(1, 3, 64, 96)).shape == (1, 1, 64, 96)


def test_moving_convolutions_before_the_enlargement_saves_operations_and_no_parameters() -> None:
    ours = build_detector("unet3plus", 1, {"encoder": "plain16x16", "depth": 5, "width": 16})
    papers = build_detector("unet3plus", 1, {"encoder": "plain16x16", "depth": 5, "width": 16, "enlarge_first": True})
    assert [p.shape for p in ours.parameters()] == [p.shape for p in papers.parameters()]
    image = torch.zeros(1, 1, 64, 64)
    assert operations(ours, image) < 0.7 * operations(papers, image)
