"""A picture to check a region of interest by: a good image, what is ignored shaded, outlines drawn and named."""

from collections.abc import Iterator

import cv2
import numpy as np

from models.inspection.region import Polygon, Region, mask_of
from models.report.overlay import HALO, Pixels, rgb
from models.report.shade import shaded

LOOK, IGNORE = (125, 235, 255), (255, 170, 60)  # RGB
LEAST_SIDE = 900
"""Small images are enlarged to about this longer side, so that lines and names do not hide them."""


def outlines(region: Region) -> Iterator[tuple[str, Polygon]]:
    """What is drawn: the rectangle, where it is not the whole image, then the polygons, each with its name."""
    if region.rectangle != (0.0, 0.0, 1.0, 1.0):
        left, top, right, bottom = region.rectangle
        yield "rectangle", ((left, top), (right, top), (right, bottom), (left, bottom))
    yield from ((f"look {number}", polygon) for number, polygon in enumerate(region.look, 1))
    yield from ((f"ignore {number}", polygon) for number, polygon in enumerate(region.ignore, 1))


def region_picture(image: Pixels, region: Region) -> Pixels:
    """``image`` uint8 (H, W, C) with ``region``: uint8 (H', W', 3), RGB, enlarged by a whole number where it is small."""
    height, width = image.shape[:2]
    times = max(1, LEAST_SIDE // max(height, width))
    enlarged = np.repeat(np.repeat(shaded(rgb(image), ~mask_of(region, height, width)), times, axis=0), times, axis=1)
    picture = np.ascontiguousarray(enlarged)
    line = max(1, round(max(picture.shape[:2]) / 450))
    for name, polygon in outlines(region):
        # An x of the picture, 0 at its left edge, is x - 1/2 in OpenCV's pixels; three binary digits of a pixel are enough.
        points = np.rint((np.array(polygon) * (width * times, height * times) - 0.5) * 8).astype(np.int32)
        colour = IGNORE if name.startswith("ignore") else LOOK
        cv2.polylines(picture, [points], True, HALO, 2 * line + 1, cv2.LINE_AA, 3)
        cv2.polylines(picture, [points], True, colour, line, cv2.LINE_AA, 3)
    for name, polygon in outlines(region):
        _write(picture, name, polygon, IGNORE if name.startswith("ignore") else LOOK)
    return picture


def _write(picture: Pixels, name: str, polygon: Polygon, colour: tuple[int, int, int]) -> None:
    """The name of an outline on a dark plate, just below and right of its topmost corner, within the picture."""
    height, width = picture.shape[:2]
    size = max(height, width) / 1100
    thickness = max(1, round(1.6 * size))
    (wide, high), below = cv2.getTextSize(name, cv2.FONT_HERSHEY_SIMPLEX, size, thickness)
    x, y = min(polygon, key=lambda point: (point[1], point[0]))
    left = int(np.clip(x * width + 10 * size, 2, max(2, width - wide - 2)))
    base = int(min(y * height + 10 * size + high, height - below - 2))
    cv2.rectangle(picture, (left - 2, base - high - 2), (left + wide + 2, base + below), HALO, -1)
    cv2.putText(picture, name, (left, base), cv2.FONT_HERSHEY_SIMPLEX, size, colour, thickness, cv2.LINE_AA)
