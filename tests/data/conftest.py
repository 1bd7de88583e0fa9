"""Small deliveries of good images, made on the spot."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.batch import BatchFolder

Deliver = Callable[..., Path]


def pixels(number: int, height: int = 48, width: int = 64, channels: int = 1) -> np.ndarray:
    """A picture that is unlike every other number's: uint8 (H, W) or (H, W, 3)."""
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng([7, number]).integers(20, 236, shape, dtype=np.uint8)


@pytest.fixture
def deliver(tmp_path: Path) -> Deliver:
    """``deliver(count, folder="delivery", first=0)`` writes ``count`` different grey PNGs and returns the folder."""

    def write(count: int = 14, folder: str = "delivery", first: int = 0, channels: int = 1) -> Path:
        target = tmp_path / folder
        target.mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            Image.fromarray(pixels(number, channels=channels)).save(target / f"part_{number:03d}.png")
        return target

    return write


@pytest.fixture
def folder(tmp_path: Path) -> BatchFolder:
    """The folder of batch ``a`` of product ``bolt`` in an empty plant."""
    return BatchFolder.of(tmp_path / "plant", "bolt", "a")
