"""The split: complete, disjoint, the same for everybody, and no part on two sides."""

import json
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import BadBatch
from data.split import SUBSETS, Split, seen_in_training, split_batch


def sizes(split: Split) -> tuple[int, ...]:
    return tuple(len(getattr(split, subset)) for subset in SUBSETS)


def singles(count: int) -> dict[str, str | None]:
    return {f"img{number:04d}.png": None for number in range(count)}


def subset_of(split: Split) -> dict[str, str]:
    return {name: subset for subset in SUBSETS for name in getattr(split, subset)}


batches = st.dictionaries(
    st.integers(0, 500).map(lambda number: f"i{number}.png"),
    st.one_of(st.none(), st.sampled_from("abcdefgh")),
    min_size=12,
    max_size=90,
)


@given(batches, st.integers(0, 2**31), st.randoms(use_true_random=False))
def test_properties(groups: dict[str, str | None], seed: int, chance: random.Random) -> None:
    names = sorted(groups)
    duplicates = {name: chance.choice(names) for name in names if chance.random() < 0.1}
    split = split_batch(groups, seed, duplicates)
    subsets = [getattr(split, subset) for subset in SUBSETS]
    assert sorted(name for subset in subsets for name in subset) == names, "complete and disjoint"
    assert all(len(subset) >= 2 and list(subset) == sorted(subset) for subset in subsets)
    where = subset_of(split)
    for name, other in duplicates.items():
        assert split.groups[name] == split.groups[other]
    for one in names:
        for two in names:
            if groups[one] is not None and groups[one] == groups[two]:
                assert split.groups[one] == split.groups[two]
            if split.groups[one] == split.groups[two] and not split.note:
                assert where[one] == where[two], "no part crosses"
    shuffled = list(groups.items())
    chance.shuffle(shuffled)
    pairs = list(duplicates.items())
    chance.shuffle(pairs)
    assert split_batch(dict(shuffled), seed, dict(pairs)) == split


@given(st.integers(12, 1200), st.integers(0, 10**6))
def test_shares_of_ungrouped_images_are_exact(count: int, seed: int) -> None:
    split = split_batch(singles(count), seed)
    tenth = min(max(2, round(0.1 * count)), 40)
    expected = (tenth, min(max(2, round(0.2 * count)), 100), tenth)
    assert sizes(split) == (count - sum(expected), *expected)
    assert split.note == ""


def test_known_sizes() -> None:
    assert sizes(split_batch(singles(12), 1)) == (6, 2, 2, 2)
    assert sizes(split_batch(singles(100), 1)) == (60, 10, 20, 10)
    assert sizes(split_batch(singles(400), 1)) == (240, 40, 80, 40)
    assert sizes(split_batch(singles(1000), 1)) == (820, 40, 100, 40)


def test_ten_parts_of_seven() -> None:
    split = split_batch({f"kos{part:02d}_{number}.png": f"kos{part:02d}" for part in range(10) for number in range(7)}, 3)
    assert sizes(split) == (42, 7, 14, 7) and split.note == ""


def test_the_seed_matters_and_lands_in_the_record() -> None:
    one, two = split_batch(singles(60), 1), split_batch(singles(60), 2)
    assert one.train != two.train
    assert one.as_json()["seed"] == 1 and set(one.as_json()) == {"seed", *SUBSETS, "groups", "note"}


def test_random_parts_are_spread_over_time() -> None:
    """A threshold calibrated on the end of a shift alone would not hold: calibration images come from everywhere."""
    split = split_batch(singles(300), 5)
    positions = [int(name[3:7]) for name in split.calibrate]
    assert min(positions) < 60 and max(positions) > 240
    assert math.isclose(sum(positions) / len(positions), 150, abs_tol=35)


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_few_parts_are_split_by_time(parts: int) -> None:
    names = [f"shot-{number}.png" for number in range(1, 31)]  # shot-10 follows shot-9, not shot-1
    split = split_batch({name: f"p{number % parts}" for number, name in enumerate(names)}, 1)
    order = {"train": names[:18], "tune": names[18:21], "calibrate": names[21:27], "test": names[27:]}
    assert {subset: sorted(getattr(split, subset)) for subset in SUBSETS} == {key: sorted(value) for key, value in order.items()}
    assert "name order" in split.note and f"{parts} physical parts" in split.note


def test_one_huge_part_falls_back_too() -> None:
    split = split_batch({f"i{n:03d}.png": "big" if n < 97 else f"small{n}" for n in range(100)}, 1)
    assert "97 of 100 images" in split.note and min(sizes(split)) >= 10


@settings(max_examples=25)
@given(batches, st.integers(0, 2**31))
def test_what_crosses_is_counted(groups: dict[str, str | None], seed: int) -> None:
    split = split_batch(groups, seed)
    found = {subset: seen_in_training(json.loads(json.dumps(split.as_json())), subset) for subset in ("calibrate", "test")}
    where = subset_of(split)
    for subset, names in found.items():
        expected = [
            name
            for name in getattr(split, subset)
            if any(where[other] in ("train", "tune") and split.groups[other] == split.groups[name] for other in split.groups)
        ]
        assert names == expected
    assert split.note or found == {"calibrate": [], "test": []}
    by_hand = {"train": ["a"], "tune": ["b"], "calibrate": ["c", "d"], "test": ["e"], "groups": {"a": "1", "c": "1", "e": "2"}}
    assert seen_in_training(by_hand, "calibrate") == ["c"] and seen_in_training(by_hand, "test") == []


def test_near_duplicates_join_parts() -> None:
    groups = singles(20) | {"img0000.png": "A", "img0001.png": "A", "img0002.png": "B"}
    split = split_batch(groups, 1, {"img0002.png": "img0001.png", "img0003.png": "img0002.png"})
    assert {split.groups[f"img000{n}.png"] for n in range(4)} == {"A"}
    assert split.groups["img0004.png"] == "img0004.png"
    assert len({subset_of(split)[f"img000{n}.png"] for n in range(4)}) == 1


def test_too_few() -> None:
    with pytest.raises(BadBatch, match="11 images cannot be split; at least 12"):
        split_batch(singles(11), 1)
