"""A contact sheet: many examples as one picture, for places that show pictures but no pages."""

from pathlib import Path

import cv2
import numpy as np

from core.files import replacing
from models.report.example import Example
from models.report.overlay import ColourScale, Pixels, overlaid
from models.report.shade import shaded

TILE, GAP, CAPTION, COLUMNS = 220, 16, 46, 6  # pixels, and tiles in a row
PAPER, INK, QUIET = (250, 249, 247), (30, 34, 40), (96, 102, 110)


def _plain(text: str, limit: int) -> str:
    """``text`` as the drawing font can show it: ASCII, one line, at most ``limit`` characters."""
    line = "".join(c if " " <= c <= "~" else "?" for c in text)
    return line if len(line) <= limit else line[: limit - 2] + ".."


def _write(sheet: Pixels, text: str, place: tuple[int, int], colour: tuple[int, int, int], size: float = 0.44) -> None:
    """Draw ``text`` with its baseline starting at ``place`` (x, y)."""
    cv2.putText(sheet, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)


def _tile(example: Example, scale: ColourScale) -> Pixels:
    """One example, map and label laid over, fitted into TILE × TILE on paper: uint8 (TILE, TILE, 3)."""
    picture = shaded(overlaid(example.image, example.map, example.label, scale), example.outside)  # (H, W, 3)
    factor = TILE / max(picture.shape[:2])
    size = (max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    tile = np.full((TILE, TILE, 3), PAPER, np.uint8)
    top, left = (TILE - size[1]) // 2, (TILE - size[0]) // 2
    tile[top : top + size[1], left : left + size[0]] = small
    return tile


def contact_sheet(examples: list[Example], scale: ColourScale) -> Pixels:
    """Examples in rows of six, each with its verdict, score and (for a pseudo-defect) family below: uint8 (H, W, 3), RGB."""
    columns = max(1, min(COLUMNS, len(examples)))
    rows = max(1, -(-len(examples) // columns))
    height, width = rows * (TILE + CAPTION + GAP) + GAP, columns * (TILE + GAP) + GAP
    sheet = np.full((height, width, 3), PAPER, np.uint8)
    if not examples:
        _write(sheet, "no pictures", (GAP, height // 2), QUIET)
    for index, example in enumerate(examples):
        x = GAP + index % columns * (TILE + GAP)
        y = GAP + index // columns * (TILE + CAPTION + GAP)
        sheet[y : y + TILE, x : x + TILE] = _tile(example, scale)
        _write(sheet, _plain(f"{example.score:.3g}  {example.outcome}", 30), (x, y + TILE + 18), INK)
        _write(sheet, _plain(example.family or example.name, 30), (x, y + TILE + 37), QUIET, 0.4)
    return sheet


def write_sheet(target: Path, examples: list[Example], scale: ColourScale) -> None:
    """Write the contact sheet of ``examples`` as PNG, whole or not at all."""
    sheet = cv2.cvtColor(contact_sheet(examples, scale), cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".png", sheet, (cv2.IMWRITE_PNG_COMPRESSION, 5))
    with replacing(target) as temporary:
        temporary.write_bytes(encoded.tobytes())
