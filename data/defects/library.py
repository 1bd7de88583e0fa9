"""The library: cut-outs of real or hand-made defects that a plant owns, pasted as one more family of pseudo-defects.

A folder of PNG files. ``<name>.png`` carries its mask as transparency, or has it beside it as ``<name>.mask.png`` (white is
defect). A product's library lies in ``products/<product>/library``; a changeover copies it beside the batch, where DVC versions
it together with the images.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from data.errors import BadBatch
from data.files import file_digest, write_json

INDEX, MASK = "index.json", ".mask.png"
MOST, LARGEST = 500, 2048


@dataclass(frozen=True)
class Cutout:
    """``image``: (h, w, C) float32, 0..255. ``mask``: (h, w) float32, 0..1, what of it is defect."""

    image: NDArray[np.float32]
    mask: NDArray[np.float32]


def read_library(folder: Path, channels: int) -> tuple[Cutout, ...]:
    """The cut-outs in ``folder`` in name order, in 1 or 3 ``channels``; none if there is no such folder.

    BadBatch names a file that is damaged, has no mask or an empty one, or is larger than 2048 px, and a folder of more than 500.
    """
    files = [file for file in sorted(folder.glob("*.png")) if not file.name.endswith(MASK)] if folder.is_dir() else []
    if len(files) > MOST:
        raise BadBatch(f"library {folder} holds {len(files)} cut-outs; at most {MOST} are used: remove the others")
    return tuple(_read(file, channels) for file in files)


def _read(file: Path, channels: int) -> Cutout:
    pixels: NDArray[Any] | None = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint8 or max(pixels.shape[:2]) > LARGEST:
        raise BadBatch(f"cut-out {file.name} is damaged, not 8-bit, or larger than {LARGEST} px; save it again as PNG")
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    beside = file.with_name(file.stem + MASK)
    mask: NDArray[Any] | None
    if pixels.shape[2] == 4:
        mask = pixels[..., 3]
    elif beside.exists():
        mask = cv2.imread(str(beside), cv2.IMREAD_GRAYSCALE)
    else:
        raise BadBatch(f"cut-out {file.name} has no mask; save it with transparency, or put {beside.name} beside it")
    if mask is None or mask.shape != pixels.shape[:2] or not (mask > 127).any():
        raise BadBatch(f"the mask of cut-out {file.name} is damaged, of another size or empty; paint the defect white")
    colour = pixels[..., :3][..., ::-1] if pixels.shape[2] >= 3 else pixels[..., :1].repeat(3, axis=2)  # RGB
    image = colour if channels == 3 else colour.mean(axis=2, keepdims=True)
    return Cutout(np.ascontiguousarray(image, np.float32), mask.astype(np.float32) / 255.0)


def lay_library(source: Path, target: Path) -> None:
    """Copy the cut-outs of ``source`` (which may be missing) to ``target`` with an index of their digests, once: what lies there
    is part of a batch and stays. BadBatch if a cut-out cannot be used."""
    if (target / INDEX).exists():
        return
    read_library(source, 3)
    partial = target.with_name(f".{target.name}-incoming")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    names = sorted(file.name for file in source.glob("*.png")) if source.is_dir() else []
    for name in names:
        shutil.copyfile(source / name, partial / name)
    write_json(partial / INDEX, {"cutouts": {name: file_digest(partial / name) for name in names}})
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
