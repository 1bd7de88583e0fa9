"""The examination: frozen defects of families that no detector trains on, beside untouched good images."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from core.errors import BadBatch
from data.batch import BatchFolder
from data.image import read_image
from data.split import FORMER, of_today

Image = NDArray[np.uint8]
MEASURING = ("calibrate", "test")
"""Subsets that give the threshold and the figures of the gates."""


@dataclass(frozen=True)
class LabelledImage:
    """``image``: uint8 (H, W, C). ``label``: float32 (H, W) in 0..1, or None on a good image. ``difficulty``: 0..1.

    ``source``: the good image that a defect was drawn on. ``part``: the physical part that a good image shows, where it is known.
    """

    name: str
    image: Image
    label: NDArray[np.float32] | None = None
    family: str | None = None
    difficulty: float | None = None
    source: str | None = None
    part: str | None = None

    @property
    def shows(self) -> str:
        """The part that a good image shows; its own name where that is not known, so that each counts as a part."""
        return self.part or self.name

    @property
    def good_image(self) -> str:
        """The good image that this is or was drawn on; its own name where an older batch does not say."""
        return self.source or self.name


@dataclass(frozen=True)
class Batch:
    """What models see of a batch: the good images by subset, and the exam defects of ``tune`` and ``test``."""

    good: dict[str, list[LabelledImage]]
    defects: dict[str, list[LabelledImage]]

    @property
    def channels(self) -> int:
        """1 or 3."""
        return int(self.good["train"][0].image.shape[2])

    def measuring_without(self, names: Collection[str]) -> "Batch":
        """The same, but neither these images nor defects drawn on them calibrate or test."""

        def left(subset: str, exams: list[LabelledImage]) -> list[LabelledImage]:
            return exams if subset not in MEASURING else [one for one in exams if one.good_image not in names]

        parts = ({subset: left(subset, exams) for subset, exams in part.items()} for part in (self.good, self.defects))
        return Batch(*parts)


def read_split(folder: BatchFolder) -> dict[str, Any]:
    """``split.json``; BadBatch if missing or damaged."""
    try:
        split = json.loads(folder.file("split.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadBatch(
            f"split.json in {folder.path} is missing or damaged; run 'changeover run' to validate the batch again"
        ) from error
    return of_today(split)


def read_batch(folder: BatchFolder, subsets: tuple[str, ...]) -> Batch:
    """Load the good images and exam defects of ``subsets``; other subsets are not read."""
    split, channels = read_split(folder), folder.channels()
    parts = split.get("groups") or {}
    good = {
        subset: [LabelledImage(name, read_image(folder.good / name, channels), part=parts.get(name)) for name in split[subset]]
        for subset in subsets
    }
    defects: dict[str, list[LabelledImage]] = {subset: [] for subset in subsets}
    index = json.loads((folder.file("defects") / "index.json").read_text(encoding="utf-8"))
    for entry in index["defects"]:
        subset = FORMER.get(entry["subset"], entry["subset"])
        if subset not in defects:
            continue
        image = read_image(folder.file("defects") / entry["file"], channels)
        mask = cv2.imread(str(folder.file("defects") / entry["mask"]), cv2.IMREAD_GRAYSCALE)
        if mask is None or mask.shape != image.shape[:2]:
            raise BadBatch(f"{entry['mask']} in defects/ is damaged; delete the folder defects and run again")
        label, difficulty = mask.astype(np.float32) / 255.0, float(entry["difficulty"])
        exam = LabelledImage(entry["file"], image, label, entry["family"], difficulty, entry.get("source"))
        defects[subset].append(exam)
    return Batch(good, defects)
