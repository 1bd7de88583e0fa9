"""Masks of defects as sets and drawing programs store them: black is good, whatever is painted over it is defect.

White is written 255, 1, or 65535; classes of defects are small numbers; programs paint in red, with a palette, or on a
transparent layer. Whatever leaves open what is defect is refused, since a mask read wrongly measures nothing without a word.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.errors import BadImage
from data.image import MAX_PIXELS

FORMATS = ("PNG", "BMP", "TIFF", "GIF", "WEBP", "JPEG")
ENDINGS = (".png", ".bmp", ".tif", ".tiff", ".gif", ".webp", ".jpg", ".jpeg")
CLASSES = 8
"""With at most so many levels above black, each is a class of defects; with more of them, they are soft edges."""
BLACK = 0.05
"""Share of the brightest level up to which the ground counts as black: JPEG leaves traces there."""


def read_mask(path: Path, soft: bool = False) -> NDArray[np.float32]:
    """What is defect, (H, W) in 0..1, all 0 if the mask is black; BadImage if it is damaged or its ground is not black.

    ``soft``: grey between black and white is a share, however few levels of it there are.
    """
    try:
        with Image.open(path, formats=FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS or getattr(picture, "n_frames", 1) > 1:
                raise BadImage(f"mask {path.name!r} is too large or holds several pictures; save one picture as PNG")
            levels, colours = _levels(picture)
            lossy = picture.format in {"JPEG", "WEBP"}
    except OSError as error:
        raise BadImage(f"mask {path.name!r} cannot be read ({str(error)[:120]}); save it again as PNG") from error
    except (ValueError, TypeError, SyntaxError, MemoryError, Image.DecompressionBombError) as error:
        raise BadImage(f"mask {path.name!r} is damaged ({str(error)[:120]}); save it again as PNG") from error
    if not np.isfinite(levels).all() or levels.min() < 0:
        raise BadImage(f"mask {path.name!r} has levels that are no brightness; paint the defect white on black, with 8 bits")
    most = float(levels.max())
    if most == 0:
        return np.zeros(levels.shape, np.float32)
    if levels.min() > BLACK * most and colours:
        raise BadImage(f"mask {path.name!r} has no black ground; paint the defect white on black")
    used = np.unique(levels[levels > 0])
    return np.asarray(levels > 0 if len(used) <= CLASSES and not lossy and not soft else levels / most, np.float32)


def _levels(picture: Image.Image) -> tuple[NDArray[Any], bool]:
    """How far each pixel is from black, (H, W), float32 in any unit, and whether there is more than one colour."""
    if picture.mode == "P" or picture.has_transparency_data or picture.mode in {"CMYK", "YCbCr", "LAB", "HSV"}:
        layers = np.asarray(picture.convert("RGBA"), np.float32)
        colours = bool((layers != layers[0, 0]).any())
        painted, opaque = layers[..., :3].max(axis=2), layers[..., 3] / 255.0
        levels = painted * opaque
        # Painted in black on a transparent layer: the layer itself is the mask.
        return (levels if levels.any() or opaque.all() else opaque * 255), colours
    levels = np.asarray(picture, np.float32)
    colours = bool((levels != levels[0, 0]).any())
    return (levels if levels.ndim == 2 else levels.max(axis=2)), colours
