"""A benchmark set: good images to train on, and real test images, good and defective, to measure on once.

``<product>/split.csv`` has the columns ``file``, ``split`` (train or test) and perhaps ``group``; files are ``good/<name>`` or
``defect/<kind>/<name>``, the mask of the latter ``mask/<kind>/<stem>.png`` (white is defect).
"""

import csv
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from data.errors import BadBatch, BadImage
from data.image import read_image

LIST = "split.csv"
SPLITS = ("train", "test")


@dataclass(frozen=True)
class TestImage:
    """``kind``: of defect, None on a good image. ``mask``: file of the mask, None where there is none."""

    __test__ = False  # not a test, whatever pytest makes of its name

    file: Path
    kind: str | None
    mask: Path | None

    def read(self, channels: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Image (H, W, C) uint8 and label (H, W) in 0..1, all zero without a mask; BadImage if they do not fit.

        Benchmark sets mix files of one and three channels: all are given the ``channels`` that the model takes.
        """
        image = read_image(self.file)
        if image.shape[2] != channels:
            grey = np.round(image.mean(axis=2, keepdims=True)).astype(np.uint8)
            image = grey if channels == 1 else grey.repeat(3, axis=2)
        label = np.zeros(image.shape[:2], np.float32)
        if self.mask is not None:
            mask = cv2.imread(str(self.mask), cv2.IMREAD_GRAYSCALE)
            if mask is None or mask.shape != label.shape:
                raise BadImage(f"mask {self.mask} is damaged or not of the size of {self.file.name}; correct it")
            label = mask.astype(np.float32) / 255.0
        return image, label


@dataclass(frozen=True)
class BenchmarkSet:
    """``train``: good images as (file, group or None). ``test``: see above, in the order of the list."""

    name: str
    train: tuple[tuple[Path, str | None], ...]
    test: tuple[TestImage, ...]


def find_sets(folder: Path) -> list[Path]:
    """Folders in ``folder`` (or itself) that hold a list; BadBatch if there is none."""
    if not folder.is_dir():
        raise BadBatch(f"{str(folder)!r} is not a folder; give the folder that holds the products")
    found = [folder] if (folder / LIST).is_file() else sorted(file.parent for file in folder.glob(f"*/{LIST}"))
    if not found:
        raise BadBatch(f"no product in {str(folder)!r} has a {LIST}; see data/benchmark_set.py for the layout")
    return found


def read_set(folder: Path) -> BenchmarkSet:
    """The set in ``folder``; BadBatch names the line of the list that is wrong."""
    train: list[tuple[Path, str | None]] = []
    test: list[TestImage] = []
    try:
        with (folder / LIST).open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadBatch(f"{folder / LIST} cannot be read ({type(error).__name__}); it has to be a CSV file in UTF-8") from error
    for number, row in enumerate(rows, 2):
        file, split = row.get("file") or "", row.get("split") or ""
        parts = PurePosixPath(file).parts
        good = parts[:1] == ("good",) and len(parts) == 2
        if split not in SPLITS or ".." in parts or not (good or (parts[:1] == ("defect",) and len(parts) == 3)):
            raise BadBatch(
                f"{folder / LIST}, line {number}: {file[:60]!r} of split {split[:20]!r} is neither good/<name> nor "
                f"defect/<kind>/<name>, of split train or test; correct the line"
            )
        if not (folder / file).is_file():
            raise BadBatch(f"{folder / LIST}, line {number}: there is no file {file[:60]!r}; correct the line")
        if split == "train" and good:
            train.append((folder / file, row.get("group") or None))
        elif split == "test":
            mask = None if good else folder / "mask" / parts[1] / f"{PurePosixPath(file).stem}.png"
            test.append(TestImage(folder / file, None if good else parts[1], mask if mask and mask.is_file() else None))
    return BenchmarkSet(folder.resolve().name, tuple(train), tuple(test))
