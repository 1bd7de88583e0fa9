"""Hard negatives are where the network fires on good images."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.detectors.detector import Detector
from models.training.hard_negatives import SHARE, find_spots, paces_between, searched


class Brightness(Detector):
    """Fires on what is bright."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(1))

    def forward(self, images: Tensor) -> Tensor:
        return images[:, :1] * self.factor


def test_the_brightest_places_of_the_images_that_have_them_are_found() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(90, 110, (96, 128, 1)).astype(np.uint8) for _ in range(8)]
    images[2][40:48, 100:108] = 255
    images[5][8:16, 20:28] = 255
    spots = find_spots(Brightness(), images, 64, np.random.default_rng(1))
    assert {number for number, _, _ in spots[:2]} == {2, 5}
    for number, row, column in spots[:2]:
        wanted = (44, 104) if number == 2 else (12, 24)
        assert abs(row - wanted[0]) <= 4 and abs(column - wanted[1]) <= 4
    assert spots == find_spots(Brightness(), images, 64, np.random.default_rng(1))


def test_peaks_of_one_image_are_apart_and_only_half_of_all_are_kept() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (256, 256, 1)).astype(np.uint8) for _ in range(4)]
    spots = find_spots(Brightness(), images, 64, np.random.default_rng(1))
    assert len(spots) == 6
    for number in range(4):
        mine = [(row, column) for n, row, column in spots if n == number]
        for a in mine:
            assert all(a == b or max(abs(a[0] - b[0]), abs(a[1] - b[1])) > 16 for b in mine)


@pytest.mark.parametrize("pace", [1, 3, 6, 50, 1000])
def test_no_more_is_searched_than_an_eighth_of_what_is_trained_on(pace: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However short a training is and however big its images are, over a hundred paces."""
    images = [np.zeros((64, 64 + 16 * i, 1), np.uint8) for i in range(8)]
    seen: list[int] = []

    def noted(inspector: object, image: np.ndarray) -> list[torch.Tensor]:
        seen.append(image.shape[0] * image.shape[1])
        return [torch.rand(1, 1, 16, image.shape[1] // 4)]

    monkeypatch.setattr("models.training.hard_negatives.raw_maps", noted)
    monkeypatch.setattr("models.training.hard_negatives.pool_map", lambda pooling, raw: raw)
    pixels = searched(pace, 4, 32)
    every = paces_between(pixels, images)
    for number in range(every, 100, every):
        find_spots(Brightness(), images, 32, np.random.default_rng(number), every * pixels)
    assert seen or every >= 100
    assert sum(seen) <= SHARE * 100 * pace * 4 * 32**2
