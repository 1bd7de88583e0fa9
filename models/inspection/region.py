"""The region of interest: what of an image is inspected, and what never rejects a part. All in fractions of an image's width and
height, so that it holds for images of any size. Read with the settings: NumPy is loaded where pixels are asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import TYPE_CHECKING, Any

from core.errors import BadSettings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Point = tuple[float, float]
"""x, y in fractions of width and height, 0..1, from the upper left corner."""
Polygon = tuple[Point, ...]
MOST_POINTS = 100
"""Of one polygon: each edge is a few operations on every image."""
LEAST_AREA = 1e-9
CHECKED_AT = 400
"""Side, in px, of the image on which a region has to leave something to inspect."""


@dataclass(frozen=True)
class Region:
    """What is inspected: the rectangle ``left`` to ``bottom``, or the polygons of ``look`` together, but not those of
    ``ignore``. The default is all of the image.

    A pixel is inside a polygon where its centre is (even-odd rule). A rectangle, also one that is written as a polygon, holds the
    pixels whose upper left corner is in it, its left and upper edge included; that is the same where its edges lie between
    pixels. BadSettings for a flaw of a polygon, for a rectangle beside ``look``, and where nothing is left to inspect.
    """

    left: float = 0.0
    top: float = 0.0
    right: float = 1.0
    bottom: float = 1.0
    look: tuple[Polygon, ...] = ()
    ignore: tuple[Polygon, ...] = ()

    def __post_init__(self) -> None:
        if not (0.0 <= self.left < self.right <= 1.0 and 0.0 <= self.top < self.bottom <= 1.0):
            raise BadSettings(f"region {self.as_settings()} is empty or leaves 0..1; give left < right and top < bottom")
        for polygon in (*self.look, *self.ignore):
            if found := flaw(polygon):
                raise BadSettings(found)
        if self.look and self.rectangle != (0.0, 0.0, 1.0, 1.0):
            raise BadSettings(
                f"the region has the rectangle {_shown(((self.left, self.top), (self.right, self.bottom)))} and 'look', which "
                "both say what is inspected; leave one of them out"
            )
        if (self.look or self.ignore) and not mask_of(self, CHECKED_AT, CHECKED_AT).any():
            raise BadSettings(
                f"the region leaves nothing of an image of {CHECKED_AT} x {CHECKED_AT} px to inspect, so that every part would "
                "pass; make 'look' larger or 'ignore' smaller"
            )

    @property
    def rectangle(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        return self.left, self.top, self.right, self.bottom

    @property
    def whole(self) -> bool:
        """Whether all of the image is inspected."""
        return self == Region()

    def share(self) -> float:
        """Share of an image that is inspected, 0..1, to about a thousandth."""
        return float(mask_of(self, 1000, 1000).mean())

    def as_settings(self) -> dict[str, Any]:
        """For JSON: the rectangle, and of the polygons what there is."""
        found: dict[str, Any] = {"left": self.left, "top": self.top, "right": self.right, "bottom": self.bottom}
        for name, polygons in (("look", self.look), ("ignore", self.ignore)):
            if polygons:
                found[name] = [[list(point) for point in polygon] for polygon in polygons]
        return found

    def inside(self, rows: Any, columns: Any, height: Any, width: Any) -> Any:
        """Which pixels of an image of ``height`` and ``width`` are inspected: bool (height, width).

        ``rows`` (height,) and ``columns`` (width,): where pixels begin, float32, i / height and i / width. They may be arrays of
        NumPy or tensors, also such as are traced for export; the same operations give the same pixels."""
        at = (rows, columns, height, width)
        seen = _in_any(self.look, *at) if self.look else _in_rectangle(self.rectangle, rows, columns)
        return seen & ~_in_any(self.ignore, *at) if self.ignore else seen


@lru_cache(maxsize=8)
def mask_of(region: Region, height: int, width: int) -> "NDArray[np.bool_]":
    """Which pixels are inspected: bool (height, width), read-only."""
    import numpy as np

    rows = np.arange(height).astype(np.float32) / height
    columns = np.arange(width).astype(np.float32) / width
    found: NDArray[np.bool_] = region.inside(rows, columns, height, width)
    found.setflags(write=False)
    return found


def flaw(polygon: Sequence[Point]) -> str:
    """Why ``polygon`` bounds no area, with what to do about it; "" where it does. Its edge may neither cross nor touch itself."""
    shown = _shown(polygon)
    if not 3 <= len(polygon) <= MOST_POINTS:
        return f"polygon {shown} has {len(polygon)} points, but needs 3 to {MOST_POINTS}; give its corners"
    for x, y in polygon:
        if not (0.0 <= x <= 1.0 and 0.0 <= y <= 1.0):
            return f"polygon {shown} has the point {x:g},{y:g} outside of 0..1; give fractions of width and height"
    if len(set(polygon)) < len(polygon):
        twice = next(point for n, point in enumerate(polygon) if point in polygon[:n])
        return f"polygon {shown} has the point {twice[0]:g},{twice[1]:g} twice; give each corner once, it closes by itself"
    for (n, first), (m, second) in combinations(enumerate(_edges(polygon)), 2):
        neighbours = m - n in (1, len(polygon) - 1)
        if _fold_back(first, second) if neighbours else _meet(first, second):
            return f"polygon {shown} crosses or touches itself at {_shown(first)} and {_shown(second)}; give its corners in order"
    if area(polygon) < LEAST_AREA:
        return f"polygon {shown} has no area; its points must not lie on one line"
    return ""


def area(polygon: Sequence[Point]) -> float:
    """Share of the image, 0..1 (shoelace formula)."""
    return abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in _edges(polygon))) / 2.0


Edge = tuple[Point, Point]


def _edges(polygon: Sequence[Point]) -> list[Edge]:
    return list(zip(polygon, [*polygon[1:], *polygon[:1]], strict=True))


def _side(edge: Edge, point: Point) -> int:
    """On which side of the line through ``edge`` a point lies: -1, 1, or 0 on it."""
    (x0, y0), (x1, y1) = edge
    turn = (x1 - x0) * (point[1] - y0) - (y1 - y0) * (point[0] - x0)
    return (turn > 0) - (turn < 0)


def _between(edge: Edge, point: Point) -> bool:
    """Whether ``point`` is in the box about ``edge``."""
    (x0, y0), (x1, y1) = edge
    return min(x0, x1) <= point[0] <= max(x0, x1) and min(y0, y1) <= point[1] <= max(y0, y1)


def _meet(first: Edge, second: Edge) -> bool:
    """Whether two edges have a point in common."""
    sides = [_side(second, point) for point in first] + [_side(first, point) for point in second]
    if sides[0] * sides[1] < 0 and sides[2] * sides[3] < 0:
        return True
    ends = [(second, point) for point in first] + [(first, point) for point in second]
    return any(side == 0 and _between(*end) for side, end in zip(sides, ends, strict=True))


def _fold_back(first: Edge, second: Edge) -> bool:
    """Whether two edges of one corner lie on one another."""
    corner = next(point for point in first if point in second)
    one, other = (next(point for point in edge if point != corner) for edge in (first, second))
    return _side(first, other) == 0 and (_between(first, other) or _between(second, one))


def _in_rectangle(rectangle: tuple[float, float, float, float], rows: Any, columns: Any) -> Any:
    left, top, right, bottom = rectangle
    return ((rows >= top) & (rows < bottom))[:, None] & ((columns >= left) & (columns < right))[None]


def _in_any(polygons: Sequence[Polygon], rows: Any, columns: Any, height: Any, width: Any) -> Any:
    found = None
    for polygon in polygons:
        one = _in_polygon(polygon, rows, columns, height, width)
        found = one if found is None else found | one
    return found


def _in_polygon(polygon: Polygon, rows: Any, columns: Any, height: Any, width: Any) -> Any:
    """Even-odd rule: a pixel is inside where an odd number of edges passes to the right of its centre.

    One edge at a time: 20 edges of 1000 x 1000 px at once would take 20 MB. Each edge is worked out from its upper end, so that
    of two polygons that share it, a pixel on it belongs to one alone.
    """
    xs, ys = (sorted(set(values)) for values in zip(*polygon, strict=True))
    if len(polygon) == 4 and len(xs) == 2 and len(ys) == 2:
        return _in_rectangle((xs[0], ys[0], xs[1], ys[1]), rows, columns)
    centres_y, centres_x = rows + 0.5 / height, columns + 0.5 / width
    found = None
    for edge in _edges(polygon):
        (x0, y0), (x1, y1) = sorted(edge, key=lambda point: point[1])
        if y0 == y1:
            continue  # a level edge passes nothing
        here = (centres_y >= y0) & (centres_y < y1)
        # Rows that the edge does not reach are passed at 0, which is left of every centre.
        at = ((centres_y - y0) * ((x1 - x0) / (y1 - y0)) + x0) * here
        passed = centres_x[None] < at[:, None]
        found = passed if found is None else found ^ passed
    return found


def _shown(points: Sequence[Point]) -> str:
    """As they are typed, the first few of many."""
    shown = " ".join(f"{x:g},{y:g}" for x, y in points[:8])
    return f"'{shown}{' …' if len(points) > 8 else ''}'"
