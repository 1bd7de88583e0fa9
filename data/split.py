"""The split of a batch's good images, made once: train, tune, calibrate, lock.

Images of one physical part, and near-duplicates, stay together: else the calibrated threshold would be measured on parts
that the weights have seen. Shares are 60/10/20/10 %, but never more than 40, 100 and 40 images for the last three: 99 promise an
overkill of 1 %, and what frozen features compare with gets better with every good image. Each subset gets at least two images.
"""

import random
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from core.errors import BadBatch
from data.batch import MIN_IMAGES

SUBSETS = ("train", "tune", "calibrate", "test")
MIN_SUBSET = 2
ENOUGH = {"tune": 40, "calibrate": 100, "test": 40}


@dataclass(frozen=True)
class Split:
    """Names of each subset, sorted; ``groups`` maps every name to its part; ``note`` says where the rule had to give way."""

    seed: int
    train: tuple[str, ...]
    tune: tuple[str, ...]
    calibrate: tuple[str, ...]
    test: tuple[str, ...]
    groups: dict[str, str]
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """``split.json``."""
        return asdict(self)


def split_batch(groups: Mapping[str, str | None], seed: int, duplicates: Mapping[str, str] | None = None) -> Split:
    """Split the images that are the keys of ``groups`` (name → part, or None where the part is not known).

    ``duplicates`` maps near-duplicates to the image they repeat. The result depends on names, parts and ``seed`` alone, not
    on any order. With fewer than four parts, or parts so unequal that a subset would get fewer than two images, the images
    are split in name order, which is capture time, into four contiguous blocks; the note says so.
    BadBatch with fewer than 12 images.
    """
    if len(groups) < MIN_IMAGES:
        raise BadBatch(f"{len(groups)} images cannot be split; at least {MIN_IMAGES} are needed: deliver more good images")
    joined = _join(groups, duplicates or {})
    targets = _targets(len(groups))
    members: dict[str, list[str]] = defaultdict(list)
    for name in sorted(groups):
        members[joined[name]].append(name)
    parts = _by_part(members, targets, seed)
    note = ""
    if min(len(parts[subset]) for subset in SUBSETS) < MIN_SUBSET:
        parts = _by_time(sorted(groups, key=_natural), targets)
        largest = max(map(len, members.values()))
        note = (
            f"{len(members)} physical parts, the largest with {largest} of {len(groups)} images, cannot fill four subsets; "
            "the images are split in name order (capture time) instead, so that a part may be in two subsets"
        )
    subsets = {subset: tuple(sorted(parts[subset])) for subset in SUBSETS}
    return Split(seed, subsets["train"], subsets["tune"], subsets["calibrate"], subsets["test"], joined, note)


FORMER = {"lock": "test"}
"""What 0.1 called a subset, and its name of today."""


def of_today(found: Mapping[str, Any]) -> dict[str, Any]:
    """What a record of a batch holds by subset, under the names of today."""
    return {FORMER.get(key, key): value for key, value in found.items()}


def seen_in_training(split: Mapping[str, Any], subset: str) -> list[str]:
    """Images of ``subset`` whose part is in train or tune as well, of the content of ``split.json``: none but where the rule had
    to give way."""
    parts = split.get("groups") or {}
    trained = {parts.get(name, name) for use in ("train", "tune") for name in split[use]}
    return [name for name in split[subset] if parts.get(name, name) in trained]


def _join(groups: Mapping[str, str | None], duplicates: Mapping[str, str]) -> dict[str, str]:
    """Name → label of its part, after near-duplicates have joined parts. The label is the first part's, or image's, own name."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    # "part" sorts before "photo": a part's name wins over an image's.
    links = [(("part", group), ("photo", name)) for name, group in groups.items() if group is not None]
    links += [(("photo", name), ("photo", other)) for name, other in duplicates.items() if name in groups and other in groups]
    nodes = sorted({node for link in links for node in link} | {("photo", name) for name in groups})
    number = {node: at for at, node in enumerate(nodes)}
    ends = ([number[one] for one, _ in links], [number[other] for _, other in links])
    _, which = connected_components(coo_array(([True] * len(links), ends), (len(nodes), len(nodes))), directed=False)
    first: dict[int, str] = {}
    for (_, name), part in zip(nodes, which.tolist(), strict=True):
        first.setdefault(part, name)
    return {name: first[which[number["photo", name]]] for name in sorted(groups)}


def _targets(count: int) -> dict[str, int]:
    """Number of images that each subset should get."""
    shares = {"tune": 0.10, "calibrate": 0.20, "test": 0.10}
    sizes = {subset: min(max(MIN_SUBSET, round(share * count)), ENOUGH[subset]) for subset, share in shares.items()}
    return {"train": count - sum(sizes.values()), **sizes}


def _by_part(members: Mapping[str, list[str]], targets: Mapping[str, int], seed: int) -> dict[str, list[str]]:
    """Whole parts, largest first and equal ones in random order, each to the subset that lacks most images."""
    order = sorted(members)
    random.Random(seed).shuffle(order)  # noqa: S311  a split, not a secret
    order.sort(key=lambda part: -len(members[part]))
    parts: dict[str, list[str]] = {subset: [] for subset in SUBSETS}
    for position, part in enumerate(order):
        empty = [subset for subset in SUBSETS if not parts[subset]]
        choice = empty if len(order) - position <= len(empty) else SUBSETS
        chosen = max(choice, key=lambda subset: (targets[subset] - len(parts[subset]), -SUBSETS.index(subset)))
        parts[chosen].extend(members[part])
    return parts


def _by_time(names: list[str], targets: Mapping[str, int]) -> dict[str, list[str]]:
    """Contiguous blocks of ``names``."""
    parts: dict[str, list[str]] = {}
    for subset in SUBSETS:
        parts[subset], names = names[: targets[subset]], names[targets[subset] :]
    return parts


def _natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sorting key that puts ``part-2`` before ``part-10``."""
    return tuple((0, int(piece)) if piece.isdecimal() else (1, piece) for piece in re.split(r"(\d+)", name) if piece)
