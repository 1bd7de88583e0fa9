"""A camera's picture as a model takes it: grey or colour, as the good images were that it was trained on.

A model of a part without any colour is trained on grey. Colour on such a part is a defect in itself: its brightness may be that
of the part, so that the model, which sees grey, would pass it.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from core.errors import BadImage
from data.image import in_channels
from models.exported import ExportedInspector, Inspection

COLOUR = 24
"""Difference between the channels, in levels, from which a place has a colour; a camera's tint and JPEG stay below."""
LEAST_SPOT = 9
"""Pixels of one coloured spot, from which it counts: noise of single pixels is none."""
MOST_COLOURED = 0.5
"""Share of coloured pixels, above which the picture is of another camera or under another light, and not judged."""


@dataclass(frozen=True)
class Fitted:
    """``pixels`` as the model takes them. ``coloured``: bool (H, W), where there is a colour that no good image had, or None."""

    pixels: NDArray[np.uint8]
    coloured: NDArray[np.bool_] | None = None

    @property
    def rejects(self) -> bool:
        """Whether colour alone makes the part a reject."""
        return self.coloured is not None

    @property
    def remark(self) -> str:
        """What people are told about it; "" for nothing."""
        if self.coloured is None:
            return ""
        rows, columns = np.nonzero(self.coloured)
        return f"coloured at {int(np.median(columns))}, {int(np.median(rows))} ({len(rows)} px); the good images had no colour"

    def raised(self, found: Inspection, inspector: ExportedInspector) -> Inspection:
        """``found`` with the coloured places shown in the map as strongly as anything can be."""
        if self.coloured is None:
            return found
        high = inspector.pixel_threshold + (abs(inspector.pixel_threshold) or 1.0)
        return replace(found, map=np.where(self.coloured, np.maximum(found.map, high), found.map).astype(np.float32))


def for_model(pixels: NDArray[np.uint8], channels: int, name: str) -> Fitted:
    """``pixels`` (H, W, 1 or 3) for a model that takes ``channels``; ``name`` is for messages. BadImage for a picture that is
    in colour all over where the good images had none."""
    if pixels.shape[2] == 1 or channels == 3:
        return Fitted(in_channels(pixels, channels))
    # Medians of 3x3 leave out single pixels, and the fringes that cameras put at edges.
    smooth = cv2.medianBlur(np.ascontiguousarray(pixels), 3)
    coloured = np.ptp(smooth, axis=2) >= COLOUR
    if coloured.mean() > MOST_COLOURED:
        raise BadImage(
            f"{name!r} is in colour all over ({coloured.mean():.0%}), but the model was trained on images without any; "
            "take images of the same camera under the same light"
        )
    count, labels, stats, _ = cv2.connectedComponentsWithStats(coloured.astype(np.uint8))
    spots = [number for number in range(1, count) if stats[number, cv2.CC_STAT_AREA] >= LEAST_SPOT]
    return Fitted(in_channels(pixels, 1), np.isin(labels, spots) if spots else None)
