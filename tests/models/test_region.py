"""Regions of interest: which pixels they hold, in NumPy, torch and the exported file alike, and what is refused."""

import io
import math
import warnings
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.errors import BadSettings
from models.inspection.export import OPSET
from models.inspection.inspector import Inspector, MapPooling
from models.inspection.region import Polygon, Region, area, flaw, mask_of
from tests.models.test_inspector import Brightness

SIZES = ((32, 32), (33, 71), (200, 57), (480, 640))
STAR = tuple(
    (0.5 + r * math.cos(a), 0.5 + r * math.sin(a)) for r, a in ((0.45 if n % 2 else 0.15, n * math.pi / 5) for n in range(10))
)
COMB = ((0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.7, 0.9), (0.7, 0.3), (0.6, 0.3), (0.6, 0.9), (0.3, 0.9), (0.3, 0.25), (0.1, 0.25))


def star_shaped(rng: np.random.Generator, corners: int) -> Polygon:
    """A random simple polygon, mostly concave: corners by rising angle about a point inside."""
    turns = np.sort(rng.uniform(0, 2 * np.pi, corners))
    while np.diff(turns, append=turns[0] + 2 * np.pi).max() > 0.9 * np.pi:
        turns = np.sort(rng.uniform(0, 2 * np.pi, corners))
    away = rng.uniform(0.05, 0.45, corners)
    return tuple((0.5 + float(r * np.cos(a)), 0.5 + float(r * np.sin(a))) for r, a in zip(away, turns, strict=True))


def distances(polygon: Polygon, height: int, width: int) -> NDArray[np.float64]:
    """Signed distance of each pixel's centre to the outline, in fractions, positive inside, by OpenCV."""
    outline = np.array(polygon, np.float32)[:, None]
    ys, xs = ((np.arange(side) + 0.5) / side for side in (height, width))
    return np.array([[cv2.pointPolygonTest(outline, (x, y), True) for x in xs.tolist()] for y in ys.tolist()])


def exported(region: Region) -> bytes:
    """The mask alone as an ONNX graph that takes images of any size."""

    class Mask(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            height, width = images.shape[1], images.shape[2]
            rows, columns = (torch.arange(side).to(torch.float32) / side for side in (height, width))
            return region.inside(rows, columns, height, width)  # type: ignore[no-any-return]

    target = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in models.inspection.export
        torch.onnx.export(
            Mask(), (torch.zeros(1, 40, 52, 1),), target, input_names=["images"], output_names=["mask"],
            dynamic_axes={"images": {1: "h", 2: "w"}, "mask": {0: "h", 1: "w"}}, opset_version=OPSET, dynamo=False,
        )  # fmt: skip
    return target.getvalue()


def in_graph(session: ort.InferenceSession, height: int, width: int) -> NDArray[np.bool_]:
    return np.asarray(session.run(None, {"images": np.zeros((1, height, width, 1), np.float32)})[0], np.bool_)


@pytest.mark.parametrize("size", SIZES[:3])
def test_a_polygon_holds_the_pixels_whose_centres_opencv_finds_in_it(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(sum(size))
    for polygon in (STAR, COMB, *(star_shaped(rng, int(rng.integers(3, 16))) for _ in range(8))):
        assert flaw(polygon) == ""
        away = distances(polygon, *size)
        sure = np.abs(away) > 1e-5
        found = mask_of(Region(look=(polygon,)), *size)
        assert sure.mean() > 0.95 and np.array_equal(found[sure], (away > 0)[sure])
        assert np.array_equal(mask_of(Region(ignore=(polygon,)), *size), ~found)


def test_large_images_hold_what_winds_around_them_and_the_polygons_area() -> None:
    rng = np.random.default_rng(5)
    height, width = SIZES[3]
    y, x = (np.mgrid[:height, :width] + 0.5) / np.array([height, width])[:, None, None]
    for polygon in (STAR, *(star_shaped(rng, 20) for _ in range(10))):
        found = mask_of(Region(look=(polygon,)), height, width)
        to = [np.arctan2(corner[1] - y, corner[0] - x) for corner in polygon]
        turns = sum((b - a + np.pi) % (2 * np.pi) - np.pi for a, b in zip(to, [*to[1:], to[0]], strict=True))
        assert (found != (np.abs(turns) > np.pi)).sum() <= 2  # centres on the outline to the last bit
        assert found.mean() == pytest.approx(area(polygon), abs=2e-3)


def test_polygons_are_joined_and_what_is_ignored_is_taken_out_of_them() -> None:
    rng = np.random.default_rng(2)
    one, two, three, four = (star_shaped(rng, 7) for _ in range(4))
    masks = [mask_of(Region(look=(polygon,)), 90, 130) for polygon in (one, two, three, four)]
    found = mask_of(Region(look=(one, two), ignore=(three, four)), 90, 130)
    assert np.array_equal(found, (masks[0] | masks[1]) & ~(masks[2] | masks[3]))
    within = mask_of(Region(left=0.25, bottom=0.5, ignore=(three,)), 90, 130)
    assert np.array_equal(within, mask_of(Region(left=0.25, bottom=0.5), 90, 130) & ~masks[2])


def test_two_polygons_with_a_common_edge_hold_each_pixel_once() -> None:
    """Centres that lie on the diagonal, too."""
    square = ((0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.1, 0.9))
    lower, upper = (square[0], square[2], square[3]), (square[0], square[1], square[2])
    for side in (40, 100, 257):
        one, other = (mask_of(Region(look=(polygon,)), side, side) for polygon in (lower, upper))
        assert not (one & other).any()


@pytest.mark.parametrize("start", range(4))
@pytest.mark.parametrize("turn", [1, -1])
def test_a_rectangle_of_points_is_the_rectangle(start: int, turn: int) -> None:
    rng = np.random.default_rng(start)
    for _ in range(20):
        left, right = sorted(rng.uniform(0, 1, 2).tolist())
        top, bottom = sorted(rng.choice(np.arange(12) / 11, 2, replace=False).tolist())
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        polygon = tuple((corners[start:] + corners[:start])[::turn])
        for height, width in (*SIZES, (11, 110)):
            y, x = (np.arange(side, dtype=np.float32) / side for side in (height, width))
            rows, columns = (y >= np.float32(top)) & (y < np.float32(bottom)), (x >= np.float32(left)) & (x < np.float32(right))
            wanted = rows[:, None] & columns[None]
            assert np.array_equal(mask_of(Region(left, top, right, bottom), height, width), wanted)
            if mask_of(Region(left, top, right, bottom), 400, 400).any():
                assert np.array_equal(mask_of(Region(look=(polygon,)), height, width), wanted)


def test_numpy_torch_and_the_exported_graph_give_the_same_pixels() -> None:
    """Corners on pixel centres and edges through them as well, where the last bit decides."""
    rng = np.random.default_rng(11)
    lattice = ((4.5 / 64, 4.5 / 64), (60.5 / 64, 12.5 / 64), (40.5 / 64, 60.5 / 64), (20.5 / 64, 30.5 / 64))
    regions = [
        Region(look=(STAR, star_shaped(rng, 20)), ignore=(star_shaped(rng, 5), lattice)),
        Region(look=(lattice,)),
        Region(ignore=(((0, 0), (1, 1), (0, 1)), ((1 / 3, 0.1), (2 / 3, 0.1), (2 / 3, 0.2), (1 / 3, 0.2)))),
        Region(left=1 / 3, top=0.1, ignore=(COMB,)),
    ]
    for region in regions:
        session = ort.InferenceSession(exported(region), providers=["CPUExecutionProvider"])
        for height, width in (*SIZES, (64, 64), (64, 128), (1000, 999)):
            rows, columns = (torch.arange(side).to(torch.float32) / side for side in (height, width))
            wanted = mask_of(region, height, width)
            assert np.array_equal(region.inside(rows, columns, height, width).numpy(), wanted)
            assert np.array_equal(in_graph(session, height, width), wanted)


def test_the_graph_stays_small() -> None:
    rng = np.random.default_rng(3)
    model = onnx.load_from_string(exported(Region(look=(star_shaped(rng, 20),))))
    assert sum(node.op_type != "Constant" for node in model.graph.node) < 12 * 20 + 20


@torch.no_grad()
def test_what_is_ignored_takes_the_smallest_value_and_rejects_nothing() -> None:
    rng = np.random.default_rng(7)
    polygon = star_shaped(rng, 9)
    for height, width in SIZES:
        pixels = rng.integers(40, 120, (height, width, 1), np.uint8)
        seen = mask_of(Region(ignore=(polygon,)), height, width).copy()
        pixels[~seen] = 250
        plain, masked = (
            Inspector([Brightness()], 1.0, poolings=[MapPooling(1, 1, 1)], region=region).eval()
            for region in (None, Region(ignore=(polygon,)))
        )
        raw, _, _ = plain(torch.from_numpy(pixels)[None])
        found, score, _ = masked(torch.from_numpy(pixels)[None])
        assert torch.equal(found[0][torch.from_numpy(seen)], raw[0][torch.from_numpy(seen)])
        assert (found[0].numpy()[~seen] == raw.numpy().min()).all()
        assert float(score[0]) == raw[0].numpy()[seen].max() < raw.max()


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"look": (((0.1, 0.1), (0.9, 0.9)),)}, "has 2 points, but needs 3 to 100"),
    ({"ignore": (((0.1, 0.1), (0.9, 0.1), (0.1, 0.1)),)}, "point 0.1,0.1 twice"),
    ({"ignore": (((0.1, 0.1), (0.5, 0.5), (0.9, 0.9)),)}, "touches itself|no area"),
    ({"ignore": (((0.1, 0.1), (0.9, 0.9), (0.9, 0.1), (0.1, 0.9)),)}, "crosses or touches itself at '0.1,0.1 0.9,0.9' and"),
    ({"look": (((0.1, 0.1), (0.9, 0.1), (0.5, 0.1), (0.5, 0.9)),)}, "crosses or touches itself"),
    ({"look": (((0, 0), (1, 0), (1, 1), (0.5, 0), (0, 1)),)}, "crosses or touches itself"),
    ({"look": (((0.1, 0.1), (1.1, 0.1), (0.5, 0.9)),)}, "1.1,0.1 outside of 0..1; give fractions"),
    ({"look": (((0.1, math.nan), (0.9, 0.1), (0.5, 0.9)),)}, "outside of 0..1"),
    ({"look": (STAR,), "left": 0.2}, "both say what is inspected; leave one of them out"),
    ({"ignore": (((0, 0), (1, 0), (1, 1), (0, 1)),)}, "leaves nothing of an image"),
    ({"left": 0.9, "right": 0.1}, "is empty or leaves 0..1"),
]


@pytest.mark.parametrize(("wrong", "words"), REFUSED)
def test_what_bounds_no_region_is_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(BadSettings, match=words):
        Region(**wrong)


def test_a_polygon_is_sound_exactly_where_no_two_of_its_edges_meet() -> None:
    """Against a second implementation: edges as parameters, solved for the point that they share."""
    rng = np.random.default_rng(1)
    sound = 0
    for _ in range(600):
        polygon = tuple(map(tuple, rng.uniform(0, 1, (int(rng.integers(4, 8)), 2)).tolist()))
        points = np.array(polygon)
        crossing = False
        for n in range(len(points)):
            for m in range(n + 2, len(points) - (n == 0)):
                p, q = points[n], points[m]
                r, s = points[(n + 1) % len(points)] - p, points[(m + 1) % len(points)] - q
                t, u = np.linalg.solve(np.array([r, -s]).T, q - p)
                crossing |= bool(0 <= t <= 1 and 0 <= u <= 1)
        assert bool(flaw(polygon)) == crossing
        sound += not crossing
    assert 50 < sound < 550
