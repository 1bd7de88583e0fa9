"""Near-duplicates: pictures that show the same thing, though their bytes differ.

A perceptual hash is of no use here: parts lie in a fixture, so that all good images of a batch share one. Compared is
instead, on a thumbnail of 64×64, in what an image departs from the batch's mean image, after the directions in which many
images depart (how a part lies, how it is lit, which side it shows) have been taken out; what is left is the part's own.

Measured on 591 images of magnetic tiles in six exposures: 442 pairs are above the limit; 355 are recorded as one tile, and
of the other 87 the 24 weakest were looked at: all show one tile. Pairs of 88 circuit boards reach 0.67, of 70 commutators
0.43, of 12 to 200 rendered plates 0.52, even with an odd image or two kinds of view among them 0.68. Of plates saved again as
JPEG all 24 of quality 80 or more were found, of quality 60 two in three; a second exposure only in large batches, not always.
"""

from collections.abc import Sequence

import cv2
import numpy as np

SIDE = 64
CORRELATION = 0.80
"""Correlation of what is the part's own, from which two images are near-duplicates."""
SAME_LEVELS = 0.5
"""Root mean square difference of two thumbnails in grey levels, below which they are near-duplicates whatever the rest of the
batch looks like (saving as JPEG of quality 80 makes 0.1 to 0.4)."""
COMMON_DIRECTIONS, IMAGES_A_DIRECTION, LEAST_SHARERS = 8, 6, 4
"""Directions taken out, how many images there must be for each (with few images they would be the parts themselves), and how
many images must depart in it."""
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
    own = _own(levels)
    centred = levels - 128  # smaller numbers: the difference of squares below keeps its precision
    squares = (centred**2).sum(axis=1, dtype=np.float64)
    first = np.arange(len(levels))
    for start in range(0, len(levels), _BLOCK):
        rows = slice(start, start + _BLOCK)
        alike = own[rows] @ own.T >= CORRELATION  # (B, N)
        distance = squares[rows, None] + squares[None] - 2 * (centred[rows] @ centred.T)
        alike |= distance <= SIDE * SIDE * SAME_LEVELS**2
        for row, column in zip(*np.nonzero(np.triu(alike, k=start + 1)), strict=True):
            _join(first, start + int(row), int(column))
    roots = [_root(first, index) for index in range(len(levels))]
    return {str(names[order[index]]): str(names[order[root]]) for index, root in enumerate(roots) if root != index}


def _own(levels: np.ndarray) -> np.ndarray:
    """What is an image's own, float32 (N, 4096): zero mean and unit length, so that products are correlations."""
    own = levels - levels.mean(axis=0)
    own /= own.std(axis=0) + 1  # edges that move vary most and would drown the rest; one level more for what never varies
    own -= own.mean(axis=1, keepdims=True)  # a darker exposure is still the same picture
    most = min(COMMON_DIRECTIONS, len(own) // IMAGES_A_DIRECTION)
    if most:
        common = _directions(own, most + 2)
        sharers = 1 / (common**4).sum(axis=0)  # number of images that depart in each direction
        # A direction of few images is a cluster of near-duplicates, which is looked for; of one alone, an odd image.
        chosen = (sharers >= max(LEAST_SHARERS, len(own) / 8)) | (sharers < 1.5)
        common = common[:, chosen & (np.cumsum(chosen) <= most)]
        own -= common @ (common.T @ own)
    return np.asarray(own / np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 1e-6))


def _directions(own: np.ndarray, count: int) -> np.ndarray:
    """The leading left singular vectors of (N, 4096), float32 (N, ``count``), by subspace iteration."""
    start = np.random.default_rng(0).standard_normal((len(own), count)).astype(np.float32)
    basis = np.linalg.qr(start)[0]
    for _ in range(10):
        basis = np.linalg.qr(own @ (own.T @ basis))[0]
    return np.asarray(basis @ np.linalg.svd(basis.T @ own, full_matrices=False)[0])


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
