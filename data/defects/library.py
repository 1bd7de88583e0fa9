"""The library: cut-outs of real or hand-made defects that a plant owns, pasted as one more family of pseudo-defects.

A folder of images and its subfolders. ``<name>.png`` carries its mask as transparency, or has it beside it as ``<name>.mask.png``
(white is defect), which then counts alone. A product's library lies in ``products/<product>/library``; a changeover copies it
beside the batch, where DVC versions it together with the images.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from core.errors import BadBatch, BadImage
from core.files import file_digest, write_json
from data.batch import LIBRARY, TEMPLATES, BatchFolder
from data.mask import read_mask
from data.templates import read_templates, template_files

INDEX, MASK = "index.json", ".mask.png"
MOST, LARGEST = 500, 2048
ENDINGS = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".webp")
_TRANSPARENT = (".png", ".tif", ".tiff", ".webp")
_NOTES = ("", ".txt", ".md", ".json", ".yaml", ".yml", ".csv", ".html", ".pdf", ".ini", ".db")
"""Endings of files that lie beside cut-outs and are none: notes, licences, lists, what systems leave behind."""


@dataclass(frozen=True)
class Cutout:
    """``image``: (h, w, C) float32, 0..255. ``mask``: (h, w) float32, 0..1, how much of each pixel is defect."""

    image: NDArray[np.float32]
    mask: NDArray[np.float32]


def read_library(folder: Path, channels: int) -> tuple[Cutout, ...]:
    """The cut-outs in ``folder`` in name order, in 1 or 3 ``channels``; none if there is no such folder.

    BadBatch names a file that is damaged, has no mask or an empty one, is of no kind that is read, or is larger than 2048 px, and
    a folder of more than 500.
    """
    found = _cutouts(folder)
    # One that is laid beside a batch may have been trained with when opaque pictures passed for their own mask.
    laid = (folder / INDEX).exists()
    return tuple(_read(file, mask, channels, laid) for file, mask in found.items())


def templates_beside(folder: Path) -> Path | None:
    """Where the templates of a batch lie whose library is ``folder``; None where it has none."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return folder / TEMPLATES if isinstance(index, dict) and index.get(TEMPLATES) else None


def batch_templates(folder: BatchFolder, channels: int) -> tuple[NDArray[np.uint8], ...]:
    """The templates (H, W, C) that lie beside a batch, in 1 or 3 ``channels``."""
    templates = templates_beside(folder.file(LIBRARY))
    return () if templates is None else read_templates(templates, channels)


def _cutouts(folder: Path) -> dict[Path, Path | None]:
    """Each cut-out with the file of its mask, in name order."""
    inside = sorted(folder.rglob("*")) if folder.is_dir() else []
    if (templates := templates_beside(folder)) is not None:
        inside = [file for file in inside if file != templates and templates not in file.parents]
    files = [file for file in inside if not any(part.startswith(".") for part in file.relative_to(folder).parts)]
    files = [file for file in files if (file.is_symlink() or not file.is_dir()) and not _is_note(file)]
    strange = next((file for file in files if file.suffix.lower() not in ENDINGS or not file.is_file()), None)
    if strange is not None:
        raise BadBatch(f"{strange.name!r} in library {folder} is no image that is read; save it as PNG, or take it out of there")
    known = {_key(file): file for file in files}
    masks: dict[Path, Path] = {}
    for file in files:
        for ending in (MASK.removesuffix(".png"), "_mask"):
            key = _key(file)
            if key.endswith(ending) and key.removesuffix(ending) in known:
                masks[known[key.removesuffix(ending)]] = file
    found = {file: masks.get(file) for file in files if file not in masks.values()}
    if lone := next((file for file in found if _key(file).endswith(MASK.removesuffix(".png"))), None):
        raise BadBatch(f"mask {lone.name!r} in library {folder} has no picture beside it; put the cut-out there, or take it out")
    if len(found) > MOST:
        raise BadBatch(f"library {folder} holds {len(found)} cut-outs; at most {MOST} are used: remove the others")
    return found


def _is_note(file: Path) -> bool:
    return file.suffix.lower() in _NOTES and file.is_file() and not (file.suffix == "" and cv2.haveImageReader(str(file)))


def _key(file: Path) -> str:
    """What a picture and its mask have in common, or may have."""
    return str(file.with_suffix("")).lower()


def _read(file: Path, beside: Path | None, channels: int, laid: bool) -> Cutout:
    # Formats without transparency are turned as their camera says, which is how people see them when they draw a mask.
    flags = cv2.IMREAD_UNCHANGED if file.suffix.lower() in _TRANSPARENT else cv2.IMREAD_COLOR
    pixels: NDArray[Any] | None = cv2.imread(str(file), flags)
    if pixels is None or pixels.dtype != np.uint8 or max(pixels.shape[:2]) > LARGEST:
        raise BadBatch(f"cut-out {file.name} is damaged, not 8-bit, or larger than {LARGEST} px; save it again as PNG")
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if beside is not None:
        try:
            mask = read_mask(beside, soft=True)
        except BadImage as error:
            raise BadBatch(f"the mask of cut-out {file.name} is damaged: {error}") from error
    elif pixels.shape[2] == 4 and (laid or pixels[..., 3].min() < 255):
        mask = pixels[..., 3].astype(np.float32) / 255.0
    else:
        raise BadBatch(f"cut-out {file.name} has no mask; save it with transparency, or put {file.stem}{MASK} beside it")
    if mask.shape != pixels.shape[:2] or not (mask > 0.5).any():
        raise BadBatch(f"the mask of cut-out {file.name} is damaged, of another size or empty; paint the defect white")
    colour = pixels[..., :3][..., ::-1] if pixels.shape[2] >= 3 else pixels[..., :1].repeat(3, axis=2)  # RGB
    image = colour if channels == 3 else colour.mean(axis=2, keepdims=True)
    return Cutout(np.ascontiguousarray(image, np.float32), mask)


def lay_library(source: Path, target: Path, templates: Path | None = None) -> None:
    """Copy the cut-outs of ``source`` and the pictures in ``templates`` (both may be missing) to ``target`` with an index of
    their digests, once: what lies there is part of a batch and stays. BadBatch if one of them cannot be used."""
    if (target / INDEX).exists():
        return
    read_library(source, 3)
    pictures = [] if templates is None else template_files(templates)
    if templates is not None:
        read_templates(templates, 3)
    if pictures and (source / TEMPLATES).exists():
        raise BadBatch(f"{source / TEMPLATES} and {templates} would lie in the same place; rename the folder of cut-outs")
    partial = target.with_name(f".{target.name}-incoming")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    names = sorted(file.relative_to(source).as_posix() for pair in _cutouts(source).items() for file in pair if file is not None)
    for name in names:
        (partial / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, partial / name)
    index = {"cutouts": {name: file_digest(partial / name) for name in names}}
    if pictures:
        (partial / TEMPLATES).mkdir()
        for picture in pictures:
            shutil.copyfile(picture, partial / TEMPLATES / picture.name)
        index[TEMPLATES] = {picture.name: file_digest(partial / TEMPLATES / picture.name) for picture in pictures}
    write_json(partial / INDEX, index)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
