"""What is not inspected, shaded in pictures: greyer and paler or darker than it is, so that it can still be made out."""

import cv2
import numpy as np
from numpy.typing import NDArray

from models.report.overlay import Pixels

SHADE = (110, 116, 124)  # RGB
OPACITY = 0.6


def shaded(picture: Pixels, outside: NDArray[np.bool_] | None) -> Pixels:
    """``picture`` uint8 (H, W, 3), RGB, with ``outside`` (H, W) shaded; itself where that is None."""
    if outside is None:
        return picture
    mixed = np.rint((1.0 - OPACITY) * picture + OPACITY * np.array(SHADE)).astype(np.uint8)
    return np.where(outside[..., None], mixed, picture)


def shade_path(outside: NDArray[np.bool_] | None) -> str:
    """The same as an SVG path in pixels, to be filled by the even-odd rule; "" where nothing is outside."""
    if outside is None or not outside.any():
        return ""
    # Contours run through pixels' middles: of doubled pixels, a quarter of a pixel inside of the true edge, not half of one.
    height, width = outside.shape
    doubled = cv2.resize(outside.astype(np.uint8), (2 * width, 2 * height), interpolation=cv2.INTER_NEAREST)
    found, _ = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    smooth = [cv2.approxPolyDP(line, 2.0, True).reshape(-1, 2) for line in found]
    lines = ["L".join(f"{(x + 0.5) / 2:g} {(y + 0.5) / 2:g}" for x, y in line) for line in smooth if len(line) > 2]
    return "".join(f"M{line}Z" for line in lines)
