"""Polygons as people type them on a command line."""

import re
from collections.abc import Callable
from typing import Any

from core.errors import BadSettings
from models.inspection.region import Polygon, flaw

FORM = '"0.1,0.1 0.9,0.1 0.9,0.9", or with px behind each number'
_NUMBER = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(px)?")


def parse_polygon(option: str, text: str, size: Callable[[], tuple[int, int]]) -> Polygon:
    """Points ``x,y`` between spaces, in fractions of width and height, or with ``px`` in pixels of images of ``size`` (width,
    height), which is asked for only then. BadSettings, which names ``option``, for anything else and for what bounds no area."""
    points = []
    for token in text.split():
        numbers = [_NUMBER.fullmatch(part) for part in token.split(",")]
        if len(numbers) != 2 or None in numbers:
            raise BadSettings(f"{option}: {token[:40]!r} is not a point such as 0.1,0.1 or 120px,40px; write {FORM}")
        points.append(tuple(_fraction(number, axis, size) for axis, number in enumerate(numbers)))
    polygon: Polygon = tuple(points)  # type: ignore[arg-type]  # pairs, as was checked
    if found := flaw(polygon):
        raise BadSettings(f"{option}: {found}")
    return polygon


def _fraction(number: Any, axis: int, size: Callable[[], tuple[int, int]]) -> float:
    value = float(number[1])
    return value / size()[axis] if number[2] else value


def polygon_text(polygon: Polygon) -> str:
    """As ``parse_polygon`` reads it, with four digits of each number."""
    return " ".join(f"{x:.4g},{y:.4g}" for x, y in polygon)
