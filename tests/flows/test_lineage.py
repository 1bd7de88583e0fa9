"""The lineage as text and as a picture, without a registry; tests/flows/test_rebuild.py traces a real version."""

from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest

from flows.records.lineage import ARROWS, Box, Lineage
from flows.records.lineage_picture import COLUMNS, WIDTH, picture

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def found() -> Lineage:
    keys = [key for _, keys in COLUMNS for key in keys]
    facts = (("digest", "ab" * 32), ("reason", "<script>alert(1)</script> & \x00\x1b[31m" + "words " * 60), ("empty", ""))
    return Lineage("bolt-m6", "3", tuple(Box(key, key.title(), facts, "good") for key in keys), ARROWS)


def test_the_tree_shows_every_fact(found: Lineage) -> None:
    lines = found.as_text().splitlines()
    assert lines[0] == "bolt-m6, version 3"
    assert len(lines) == 1 + len(found.boxes) * 4
    assert lines[1].startswith("├── ") and lines[-4].startswith("└── ") and lines[-1].startswith("    └── ")


def test_json_holds_the_same(found: Lineage) -> None:
    told = found.as_dict()
    assert told["boxes"]["images"]["facts"]["digest"] == "ab" * 32
    assert {key for arrow in told["arrows"] for key in arrow} == set(told["boxes"])


def test_the_picture_is_safe_and_whole(found: Lineage) -> None:
    text = picture(found)
    root = ET.fromstring(text)  # noqa: S314 - our own text
    assert not list(root.iter(f"{SVG}script")) and "\x1b" not in text and "\x00" not in text
    whole = "".join(root.itertext())
    assert "<script>alert(1)</script>" in whole and "ab" * 32 in whole
    assert len([path for path in root.iter(f"{SVG}path") if path.get("class") == "arrow"]) == len(ARROWS)


def test_boxes_do_not_overlap_and_stay_inside(found: Lineage) -> None:
    root = ET.fromstring(picture(found))  # noqa: S314 - our own text
    height = float(root.get("height") or 0)
    boxes = [
        tuple(float(box.get(key) or 0) for key in ("x", "y", "height")) for box in root.iter(f"{SVG}rect") if box.get("class")
    ]
    assert len(boxes) == len(found.boxes)
    for (x, y, tall), (other_x, other_y, _) in pairwise(sorted(boxes)):
        assert y + tall < height
        assert (other_x == x and other_y > y + tall) or other_x >= x + WIDTH
