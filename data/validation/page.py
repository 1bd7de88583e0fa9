"""``validation.html``: what validation found, for people; one file that loads nothing from elsewhere."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from core.errors import BadImage
from data.batch import BatchFolder, BatchRecord
from data.image import read_image
from data.page import templates
from data.validation.checks import Check

THUMBNAIL = 240
"""Longer side of an embedded picture in px."""
SHOWN, SAMPLES, LISTED = 18, 6, 200
"""Pictures of one check, pictures of the batch, lines of rejections: the page stays under two megabytes."""
BINS = 32
MEASURES = {
    "brightness": ("Brightness", "mean grey level, 0 black to 1 white"),
    "contrast": ("Contrast", "standard deviation of grey levels, 0 to 0.5"),
    "sharpness": ("Sharpness", "variance of the Laplacian, on a scale of factors"),
}


@dataclass(frozen=True)
class Histogram:
    """Columns of one measure, ready to be drawn: ``bars`` are (x, height) in per cent of the drawing, ``ticks`` (x, label)."""

    title: str
    unit: str
    bars: list[tuple[float, float]]
    width: float
    ticks: list[tuple[float, str]]
    middle: float
    words: str


@dataclass(frozen=True)
class Finding:
    """Pictures of the images that one failed check names: (name, data URI or empty), and how many more there are."""

    check: Check
    pictures: list[tuple[str, str]]
    more: int


def validation_page(folder: BatchFolder, record: BatchRecord, facts: pd.DataFrame, checks: Sequence[Check]) -> str:
    """The page as HTML. The same batch and checks give the same text."""
    environment = templates(Path(__file__).parent)
    failed = [check for check in checks if not check.passed]
    names = [image.name for image in record.images]
    samples = names if len(names) <= SAMPLES else [names[round(k * (len(names) - 1) / (SAMPLES - 1))] for k in range(SAMPLES)]
    return environment.get_template("validation.html.j2").render(
        record=record,
        errors=[check for check in failed if check.severity == "error"],
        warnings=[check for check in failed if check.severity == "warning"],
        checks=sorted(checks, key=lambda check: (check.passed, check.severity)),
        samples=[(name, _picture(folder.good / name)) for name in samples],
        findings=[_finding(folder, check) for check in failed if check.images],
        histograms=[histogram for column in MEASURES if (histogram := _histogram(facts, column))],
        rejected=record.rejected[:LISTED],
        sizes=facts["width"].notna().any(),
        groups=len({image.group for image in record.images if image.group is not None}),
        megabytes=sum(image.bytes for image in record.images) / 1e6,
    )


def _finding(folder: BatchFolder, check: Check) -> Finding:
    """The first pictures of a check."""
    shown = check.images[:SHOWN]
    return Finding(check, [(name, _picture(folder.good / name)) for name in shown], len(check.images) - len(shown))


def _picture(path: Path) -> str:
    """A small JPEG as a data URI; empty if the image cannot be read."""
    try:
        pixels = read_image(path)
    except BadImage:
        return ""
    height, width = pixels.shape[:2]
    scale = min(1.0, THUMBNAIL / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    if small.ndim == 3:
        small = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
    coded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 82])[1]
    return "data:image/jpeg;base64," + base64.b64encode(coded.tobytes()).decode()


def _histogram(facts: pd.DataFrame, column: str) -> Histogram | None:
    """How a measure is spread over the batch, or None if nothing was measured. Sharpness is drawn on a logarithmic axis."""
    values = facts[column].dropna().to_numpy(dtype=float)
    if values.size == 0:
        return None
    logarithmic = column == "sharpness"
    placed = np.log10(np.maximum(values, 1e-9)) if logarithmic else values
    low, high = float(placed.min()), float(placed.max())
    if high - low < 1e-6:
        low, high = low - 0.01, high + 0.01
    counts, edges = np.histogram(placed, bins=BINS, range=(low, high))
    title, unit = MEASURES[column]

    def label(position: float) -> str:
        return f"{10**position if logarithmic else position:.3g}"

    return Histogram(
        title,
        unit,
        [(100 * (edge - low) / (high - low), 100 * count / counts.max()) for edge, count in zip(edges[:-1], counts, strict=True)],
        100 / BINS,
        [(0.0, label(low)), (50.0, label((low + high) / 2)), (100.0, label(high))],
        100 * (float(np.median(placed)) - low) / (high - low),
        f"{title}: {values.min():.3g} to {values.max():.3g}, median {np.median(values):.3g}",
    )
