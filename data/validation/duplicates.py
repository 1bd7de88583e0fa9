"""Near-duplicates: pictures that show the same thing, though their bytes differ.

A perceptual hash is of no use here: parts lie in a fixture, so that all good images of a batch share one. Compared is
instead, on a thumbnail of 64×64, in what an image departs from the batch's mean image, after the directions in which many
images depart (how a part lies, how it is lit, which side it shows) have been taken out; what is left is the part's own.

Measured on 591 images of magnetic tiles in six exposures: 214 are found to repeat another, of which 173 are recorded as the same
tile. Of plates, commutators and circuit boards none is. Of twelve images each of tiles, commutators and boards that were saved
again as JPEG all are found, down to quality 60.
"""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.polynomial.legendre import legvander

SIDE = 64
CORRELATION = 0.80
"""Correlation of what is the part's own, from which two images are near-duplicates."""
SAME_LEVELS = 0.5
"""Root mean square difference of two thumbnails in grey levels, up to which they are near-duplicates whatever the rest of the
batch looks like (saving as JPEG of quality 80 makes 0.1 to 0.4) …"""
SHARED_NOISE = 0.5
"""… provided it is also less than this share of what noise alone makes between two exposures: then they share the noise, and are
one exposure. Without that, sheets of glass, dark fields and tiny parts would all be alike."""
COMMON_DIRECTIONS, IMAGES_A_DIRECTION, LEAST_SHARERS = 8, 6, 4
"""Directions taken out, how many images there must be for each (with few images they would be the parts themselves), and how
many images must depart in it."""
DETAIL = 0.5
"""Correlation of the same without shading that is needed besides: light that falls alike is no proof."""
SAME_EXPOSURE = 0.95
"""Both correlations of one exposure that was saved again."""
SHADING_DEGREE = 4
"""Degree of the polynomials that are shading."""
LEAST_NOISE = 1e-3
_BLOCK = 512


def thumbnail(grey: np.ndarray) -> np.ndarray:
    """A uint8 (H, W) image as a float32 vector of 64·64 grey levels 0..255, and last their noise in grey levels.

    The noise is what a cell of the thumbnail differs by from one picture of an unchanging scene to the next, read off one picture
    alone: from how cells differ within, where neither edges nor shading count.
    """
    levels = grey.astype(np.float32)
    small = cv2.resize(levels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    width, height = (min(side, 2 * SIDE) for side in (grey.shape[1], grey.shape[0]))
    finer = cv2.resize(levels, (width, height), interpolation=cv2.INTER_AREA)[: height // 2 * 2, : width // 2 * 2]
    crossed = np.abs(finer[::2, ::2] - finer[1::2, ::2] - finer[::2, 1::2] + finer[1::2, 1::2]) / 2
    varying = crossed[crossed > 0]  # what is pure black or white shows no noise
    noise = 1.4826 * float(np.median(varying)) * (varying.size / crossed.size) ** 0.5 if varying.size else 0.0
    cells = max(1.0, width / SIDE) * max(1.0, height / SIDE)
    return np.append(np.asarray(small).reshape(-1), np.float32(noise / cells**0.5))


def find_duplicates(
    names: Sequence[str], thumbnails: np.ndarray, groups: Mapping[str, str | None] | None = None
) -> dict[str, str]:
    """Near-duplicate → the first image of its kind in name order, which itself is not in the result.

    ``thumbnails`` is float32 (N, 4097). One exposure that was saved several times is one image, and images that are like the
    first of their kind join it. Likeness to those others is not passed on: where each image resembles the next, that is no kind.
    ``groups`` maps names to parts, where the source says which: images of different parts are no duplicates, however alike.
    """
    order = np.argsort(np.asarray(names))
    parts = {place: (groups or {}).get(str(names[index])) for place, index in enumerate(order)}
    levels = np.asarray(thumbnails, np.float32)[order, :-1]  # (N, 4096)
    noise = np.asarray(thumbnails, np.float64)[order, -1]
    own = _own(levels)
    shading = _shading()
    detail = _unit(own - (own @ shading) @ shading.T)
    centred = levels - 128  # smaller numbers: the difference of squares below keeps its precision
    squares = (centred**2).sum(axis=1, dtype=np.float64)
    first = np.arange(len(levels))  # of the exposure
    alike: list[np.ndarray] = []  # a bit for each pair, packed
    for start in range(0, len(levels), _BLOCK):
        rows = slice(start, start + _BLOCK)
        likeness, fine = own[rows] @ own.T, detail[rows] @ detail.T  # (B, N)
        distance = (squares[rows, None] + squares[None] - 2 * (centred[rows] @ centred.T)) / SIDE**2
        limit = np.minimum(SAME_LEVELS**2, SHARED_NOISE**2 * (noise[rows, None] ** 2 + noise[None] ** 2))
        same = (distance <= limit) | ((likeness >= SAME_EXPOSURE) & (fine >= SAME_EXPOSURE))
        for row, others in enumerate(same, start):
            for other in np.unique(first[others]).tolist():
                _join(first, parts, int(first[row]), other)
        alike.append(np.packbits(same | ((likeness >= CORRELATION) & (fine >= DETAIL)), axis=1))
    kinds = first.copy()
    for place in range(len(levels)):
        if kinds[place] == place:
            like_it = np.unpackbits(alike[place // _BLOCK][place % _BLOCK], count=len(levels)).astype(bool)
            for other in np.unique(first[like_it]).tolist():
                if other > place and kinds[other] == other:
                    _join(kinds, parts, place, other)
    return {str(names[order[place]]): str(names[order[kind]]) for place, kind in enumerate(kinds) if kind != place}


def _join(first: np.ndarray, parts: dict[int, str | None], one: int, other: int) -> None:
    """Give what has ``one`` or ``other`` as its first the same first, unless the source says that they are different parts."""
    low, high = min(one, other), max(one, other)
    if low != high and not (parts[low] and parts[high] and parts[low] != parts[high]):
        first[first == high] = low
        parts[low] = parts[low] or parts[high]  # else it would join two parts that the source keeps apart


def variety(thumbnails: np.ndarray) -> np.ndarray:
    """How far each image departs from the batch's mean image, in units of its own noise: (N,), about 1 where that is all."""
    levels, noise = thumbnails[:, :-1], thumbnails[:, -1]
    departure = (levels - levels.mean(axis=0)).std(axis=1)
    return np.asarray(departure / np.maximum(noise, LEAST_NOISE), np.float64)


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
    return _unit(own)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6))


def _shading() -> np.ndarray:
    """Smooth pictures, orthonormal, float32 (4096, 15): polynomials of the place in the picture."""
    powers = legvander(np.linspace(-1, 1, SIDE), SHADING_DEGREE)
    pairs = [(row, column) for row in range(SHADING_DEGREE + 1) for column in range(SHADING_DEGREE + 1 - row)]
    pictures = [np.outer(powers[:, row], powers[:, column]).reshape(-1) for row, column in pairs]
    return np.asarray(np.linalg.qr(np.stack(pictures, axis=1))[0], np.float32)


def _directions(own: np.ndarray, count: int) -> np.ndarray:
    """The leading left singular vectors of (N, 4096), float32 (N, ``count``), by subspace iteration."""
    start = np.random.default_rng(0).standard_normal((len(own), count)).astype(np.float32)
    basis = np.linalg.qr(start)[0]
    for _ in range(10):
        basis = np.linalg.qr(own @ (own.T @ basis))[0]
    return np.asarray(basis @ np.linalg.svd(basis.T @ own, full_matrices=False)[0])
