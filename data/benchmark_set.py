"""A benchmark set: good images to train on, and real test images, good and defective, to measure on once.

``<product>/split.csv`` has the columns ``file``, ``split`` (train or test) and perhaps ``group``; files are ``good/<name>`` or
``defect/<kind>/<name>``, the mask of the latter ``mask/<kind>/<stem>.png`` or ``<stem>_mask.png`` (white is defect; see
``data.mask``). Folders as MVTec AD and VisA have them need no such list.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from statistics import median

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.errors import BadBatch, BadImage
from core.files import file_digest
from data.image import read_image
from data.mask import ENDINGS, read_mask
from data.table import read_table

LIST = "split.csv"
SPLITS = ("train", "test")
MASK_NAMES = ("{}", "{}_mask", "{}.mask", "{}-mask", "{}_gt")
VISA_LIST = "split_csv/1cls.csv"
BLACK_MASKS = 0.10
"""Share of masks that may be all black: public sets have a few such slips; where it is most of them, they are stored in another
way than is read here."""


@dataclass(frozen=True)
class TestImage:
    """``kind``: of defect, None on a good image. ``mask``: file of the mask, None on a good image."""

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
            label = read_mask(self.mask)
            self._check_size(label.shape, image.shape[:2])
        return image, label

    def painted(self) -> float:
        """The share of the image that the mask covers, 0..1. BadImage if it cannot be read, or is not of the image's size."""
        if self.mask is None:
            return 0.0
        mask = read_mask(self.mask)
        with suppress(OSError), Image.open(self.file) as image:
            if mask.shape != image.size:  # the same size, if the camera's orientation turns it by a quarter
                self._check_size(mask.shape, image.size[::-1])
        return float(mask.mean())

    def _check_size(self, mask: tuple[int, ...], image: tuple[int, ...]) -> None:
        if mask != image:
            here, there = ("×".join(map(str, reversed(shape))) for shape in (mask, image))
            raise BadImage(f"mask {self.mask} is not of the size of {self.file.name} ({here} px, not {there}); correct it")


@dataclass(frozen=True)
class BenchmarkSet:
    """``train``: good images as (file, group or None). ``test``: see above, in the order of the list."""

    name: str
    train: tuple[tuple[Path, str | None], ...]
    test: tuple[TestImage, ...]


def find_sets(folder: Path) -> list[Path]:
    """Folders in ``folder`` (or itself) that hold a set; BadBatch if there is none."""
    if not folder.is_dir():
        raise BadBatch(f"{str(folder)!r} is not a folder; give the folder that holds the products")
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    found = [path for path in (folder, *inside) if _holds_set(path)]
    if not found:
        raise BadBatch(
            f"no product in {str(folder)!r} has a {LIST} (columns file and split), or folders as MVTec AD (train/good, "
            "test/<kind>, ground_truth/<kind>) or VisA (Data/Images/Normal) have them; see data/benchmark_set.py for the layout"
        )
    return found[:1] if found[0] == folder else found


def _holds_set(folder: Path) -> bool:
    return (folder / LIST).is_file() or _is_mvtec(folder) or _is_visa(folder)


def _is_mvtec(folder: Path) -> bool:
    return (folder / "train" / "good").is_dir()


def _is_visa(folder: Path) -> bool:
    return (folder / "Data" / "Images" / "Normal").is_dir()


def read_set(folder: Path) -> BenchmarkSet:
    """The set in ``folder``. BadBatch names the line of the list that is wrong, a defect without a mask, an image that would be
    both trained on and measured; BadImage names a mask that cannot be read."""
    if (folder / LIST).is_file() or not (_is_mvtec(folder) or _is_visa(folder)):
        train, test = _listed(folder)
    else:
        train, test = _as_mvtec(folder) if _is_mvtec(folder) else _as_visa(folder)
    _refuse_twice(folder, [file for file, _ in train], [image.file for image in test])
    # Now, not when everything has been trained.
    masked = [image for image in test if image.mask is not None]
    shares = [image.painted() for image in masked]
    black = [image.mask for image, share in zip(masked, shares, strict=True) if share == 0]
    if len(black) > BLACK_MASKS * len(masked):
        raise BadBatch(
            f"{len(black)} masks of {str(folder)!r} are all black, first {str(black[0])!r}; paint the defect white on black"
        )
    if masked and 0.5 < median(shares) < 1:
        raise BadBatch(
            f"masks of {str(folder)!r} cover {median(shares):.0%} of their images, such as {str(masked[0].mask)!r}; the defect "
            "has to be white and the ground black, not the other way round"
        )
    return BenchmarkSet(folder.resolve().name, tuple(train), tuple(test))


_Images = tuple[list[tuple[Path, str | None]], list[TestImage]]


def _listed(folder: Path) -> _Images:
    """As ``split.csv`` says."""
    train: list[tuple[Path, str | None]] = []
    test: list[TestImage] = []
    for number, row in read_table(folder / LIST, ("file", "split")).lines:
        file, split = row["file"].replace("\\", "/"), row["split"].lower()
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
            mask = None if good else _mask_of(folder / file, folder / "mask" / parts[1])
            test.append(TestImage(folder / file, None if good else parts[1], mask))
    return train, test


def _as_mvtec(folder: Path) -> _Images:
    """``train/good``, ``test/good``, ``test/<kind>`` with ``ground_truth/<kind>/<stem>_mask.png``."""
    test = []
    for kind in sorted(path for path in (folder / "test").glob("*") if path.is_dir() and not path.name.startswith(".")):
        for file in _images(kind):
            good = kind.name == "good"
            mask = None if good else _mask_of(file, folder / "ground_truth" / kind.name)
            test.append(TestImage(file, None if good else kind.name, mask))
    return [(file, None) for file in _images(folder / "train" / "good")], test


def _as_visa(folder: Path) -> _Images:
    """``Data/Images`` and ``Data/Masks``, split by the list that lies beside the products."""
    split = folder.parent / VISA_LIST
    if not split.is_file():
        raise BadBatch(
            f"{str(folder)!r} has VisA's folders, but {VISA_LIST} is not beside it; put it there, or write a {LIST} "
            "with the columns file and split"
        )
    train: list[tuple[Path, str | None]] = []
    test: list[TestImage] = []
    for number, row in read_table(split, ("object", "split", "label", "image")).lines:
        if row["object"] != folder.name:
            continue
        file, good = folder.parent / row["image"], row["label"].lower() == "normal"
        if ".." in PurePosixPath(row["image"]).parts or row["split"].lower() not in SPLITS or not file.is_file():
            raise BadBatch(f"{split}, line {number}: no file {row['image'][:60]!r}, or no split train or test; correct the line")
        if row["split"].lower() == "test":
            mask = None if good else _mask_of(file, folder / "Data" / "Masks" / file.parent.name)
            test.append(TestImage(file, None if good else "anomaly", mask))
        elif good:
            train.append((file, None))
    return train, test


def _images(folder: Path) -> Iterator[Path]:
    """Files in ``folder`` that are called like images, in name order."""
    files = (file for file in folder.iterdir() if file.suffix.lower() in ENDINGS and not file.name.startswith("."))
    return iter(sorted(file for file in files if file.is_file()))


def _mask_of(file: Path, folder: Path) -> Path:
    """The mask of a defective image; BadBatch where there is none: all of the image would count as good."""
    there = {path.name.lower(): path for path in folder.iterdir()} if folder.is_dir() else {}
    names = [(name.format(file.stem) + ending).lower() for name in MASK_NAMES for ending in ENDINGS]
    found = next((there[name] for name in names if name in there and there[name].is_file()), None)
    if found is None:
        raise BadBatch(
            f"there is no mask of {str(file)!r}; put it at {str(folder / f'{file.stem}.png')!r}, of the same size, the defect "
            "white on black"
        )
    return found


def _refuse_twice(folder: Path, train: list[Path], test: list[Path]) -> None:
    """What is measured on must be something else than what was trained on, and be counted once."""
    places = {file.resolve(): file for file in train}
    contents: dict[tuple[int, str], Path] = {}
    sizes = {file.stat().st_size for file in test}
    for file in train:
        if (size := file.stat().st_size) in sizes:
            contents[size, file_digest(file)] = file
    if len(places) < len(train):
        raise BadBatch(f"the list of {str(folder)!r} has a training image twice; list each file once")
    trained = {size for size, _ in contents}
    measured: set[Path] = set()
    for file in test:
        size = file.stat().st_size
        same = places.get(file.resolve()) or (contents.get((size, file_digest(file))) if size in trained else None)
        if same is not None:
            raise BadBatch(
                f"{file.relative_to(folder) if file.is_relative_to(folder) else file} is in test, and in train as {same.name!r}; "
                "what is trained on cannot measure: keep it in one of them"
            )
        if file.resolve() in measured:
            raise BadBatch(f"{file.name!r} is in the test list of {str(folder)!r} twice; list each file once")
        measured.add(file.resolve())
