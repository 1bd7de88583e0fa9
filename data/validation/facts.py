"""What can be measured on one image without knowing what it shows."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import pandas as pd

from core.errors import BadImage
from data.batch import BatchFolder, BatchRecord, ImageRecord
from data.image import decode_image, read_bytes
from data.progress import Progress
from data.validation.duplicates import find_duplicates, thumbnail, variety

STANDARD_PIXELS = 512 * 512
"""Sharpness is measured on images scaled down to this area, so that cameras of different resolution can be compared."""
OVEREXPOSED, UNDEREXPOSED = 250, 5


def image_facts(folder: BatchFolder, record: BatchRecord) -> pd.DataFrame:
    """One row for each image of the record, in its order, read from ``folder.good``. Progress goes to stage ``validate``.

    Columns: ``name``; ``sha256`` of the file as it is now; ``problem``, why it cannot be read, or None; ``width``, ``height``
    in px, ``channels`` 1 or 3, ``bits`` a channel, ``bytes``; ``stored``, channels of the file, 1 or 3; ``turned``, the EXIF
    orientation that was applied; ``tail``, the share of rows at the file's end that are all of one level (0..1); of the grey
    image ``brightness`` (mean, 0..1), ``contrast`` (standard deviation, 0..0.5), ``sharpness`` (variance of the Laplacian at
    standard size, ≥ 0), ``overexposed`` and ``underexposed`` (share of pixels of at least 250, at most 5); ``variety``, how far
    it departs from the batch's mean image, in units of noise (≥ 0); ``duplicate_of``, the image that it nearly repeats, or None.
    Of a file that cannot be read all facts are missing (NaN or None).
    """
    progress = Progress(folder.path, "validate")
    rows: list[dict[str, Any]] = []
    thumbnails: list[np.ndarray] = []
    measured: list[str] = []
    pool = ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1))
    try:
        for done, (row, small) in enumerate(pool.map(lambda image: _measure(folder, image), record.images), start=1):
            rows.append(row)
            if small is not None:
                measured.append(row["name"])
                thumbnails.append(small)
            progress.update(done, len(record.images), "measuring images")
    finally:
        pool.shutdown(cancel_futures=True)
    duplicates: dict[str, str] = {}
    departures: dict[str, float] = {}
    if measured:
        duplicates = find_duplicates(measured, np.stack(thumbnails), {image.name: image.group for image in record.images})
        departures = dict(zip(measured, variety(np.stack(thumbnails)).tolist(), strict=True))
    for row in rows:
        row["duplicate_of"], row["variety"] = duplicates.get(row["name"]), departures.get(row["name"])
    table = pd.DataFrame(rows, columns=COLUMNS)
    for column in ("sha256", "problem", "duplicate_of"):  # None stays None
        table[column] = pd.Series([row[column] for row in rows], dtype=object)
    return table


COLUMNS = [
    *("name", "sha256", "problem", "width", "height", "channels", "bits", "bytes"),
    *("stored", "turned", "tail", "brightness", "contrast", "sharpness", "overexposed", "underexposed", "variety"),
    "duplicate_of",
]


def _measure(folder: BatchFolder, image: ImageRecord) -> tuple[dict[str, Any], np.ndarray | None]:
    """The row of one image, less ``duplicate_of``, and its thumbnail."""
    row: dict[str, Any] = {"name": image.name, "sha256": None, "problem": None}
    try:
        content = read_bytes(folder.good / image.name)
        row["sha256"] = hashlib.sha256(content).hexdigest()
        # Grey images are looked at as they are, so that colour among them is found.
        decoded = decode_image(content, image.name, 3 if image.channels == 3 else None)
    except BadImage as error:
        return {**row, "problem": str(error)}, None
    pixels = decoded.pixels
    height, width, channels = pixels.shape
    row |= {"stored": 3 if decoded.colour else 1, "turned": decoded.turned, "tail": decoded.tail.share}
    grey = pixels[:, :, 0] if channels == 1 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    row |= {"width": width, "height": height, "channels": channels, "bits": 8 * pixels.itemsize, "bytes": len(content)}
    row |= {
        "brightness": float(grey.mean()) / 255,
        "contrast": float(grey.std()) / 255,
        "sharpness": sharpness(grey),
        "overexposed": float((grey >= OVEREXPOSED).mean()),
        "underexposed": float((grey <= UNDEREXPOSED).mean()),
    }
    return row, thumbnail(grey)


def sharpness(grey: np.ndarray) -> float:
    """Variance of the Laplacian of a uint8 (H, W) image with grey levels 0..1, after scaling it down to the standard area."""
    scale = (STANDARD_PIXELS / grey.size) ** 0.5
    if scale < 1:  # never up: that would blur
        size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(grey.astype(np.float32) / 255, cv2.CV_32F).var())
