"""Near-duplicates: pictures that show the same thing, though their bytes differ.

A perceptual hash is of no use here: parts lie in a fixture, so that all good images of a batch share one. Compared is
instead what an image has beyond the batch's mean image, on a thumbnail of 64×64. Two parts differ in that, two exposures
or two encodings of one part do not. Measured: of 591 images of magnetic tiles in six exposures 190 pairs are above the limit; 160
are recorded as one tile, and of the other 30 the 15 looked at show one tile as well. No pair of 70 commutators (at most
0.33) or of 88 circuit boards (0.83) reaches it.
"""

from collections.abc import Sequence

import cv2
import numpy as np

SIDE = 64
CORRELATION = 0.95
"""Correlation of what is beyond the mean image, from which two images are near-duplicates."""
SAME_LEVELS = 0.5
"""Root mean square difference of two thumbnails in grey levels, below which they are near-duplicates whatever the rest of the
batch looks like (saving as JPEG of quality 80 makes 0.1 to 0.4)."""
_BLOCK = 512


def thumbnail(grey: np.ndarray) -> np.ndarray:
    """A uint8 (H, W) image as a float32 vector of 64·64 grey levels 0..255."""
    small = cv2.resize(grey.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(small).reshape(-1)


def find_duplicates(names: Sequence[str], thumbnails: np.ndarray) -> dict[str, str]:
    """Near-duplicate → the first image of its kind in name order, which itself is not in the result.

    ``thumbnails`` is float32 (N, 4096). Likeness is passed on: if A is like B and B like C, both B and C repeat A.
    """
    order = np.argsort(np.asarray(names))
    levels = np.asarray(thumbnails, np.float32)[order]  # (N, 4096)
    beyond = levels - levels.mean(axis=0)
    beyond -= beyond.mean(axis=1, keepdims=True)  # a darker exposure is still the same picture
    beyond /= np.maximum(np.linalg.norm(beyond, axis=1, keepdims=True), 1e-6)
    centred = levels - 128  # smaller numbers: the difference of squares below keeps its precision
    squares = (centred.astype(np.float64) ** 2).sum(axis=1)
    first = np.arange(len(levels))
    for start in range(0, len(levels), _BLOCK):
        rows = slice(start, start + _BLOCK)
        alike = beyond[rows] @ beyond.T >= CORRELATION  # (B, N)
        distance = squares[rows, None] + squares[None] - 2 * (centred[rows] @ centred.T)
        alike |= distance <= SIDE * SIDE * SAME_LEVELS**2
        for row, column in zip(*np.nonzero(np.triu(alike, k=start + 1)), strict=True):
            _join(first, start + int(row), int(column))
    return {
        str(names[order[index]]): str(names[order[_root(first, index)]])
        for index in range(len(levels))
        if _root(first, index) != index
    }


def _root(first: np.ndarray, index: int) -> int:
    """The lowest index that is joined to ``index``."""
    while first[index] != index:
        first[index] = first[first[index]]
        index = int(first[index])
    return index


def _join(first: np.ndarray, one: int, other: int) -> None:
    """Let both indices have one root, the lower one."""
    low, high = sorted((_root(first, one), _root(first, other)))
    first[high] = low
