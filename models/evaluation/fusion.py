"""Fusion: how the maps of all detectors become one, chosen on tuning images and exam defects alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from models.detectors.detector import Detector, Kind
from models.detectors.segmentation import SegmentationDetector
from models.evaluation.objective import Looks, TuneSet, judge, look, look_again
from models.inspection.inspector import EVERY, Inspector, Reading

SIDES = (3, 5, 9, 15)
WIDE = ((4, 9), (8, 9))
"""Pools and sides of readings wider than that: 36 and 72 px."""
GUIDES = (1.0, 0.0)
"""Weights of the segmentation networks' classification heads in their maps: on some products they help, on others they harm."""
MOST, GAIN = 3, 0.01
"""Readings at most, and what each further one has to bring."""
WORTH = 0.4
"""Share of the better kind's objective that a kind has to reach alone to be read at all. Exam defects are drawn by the hand that
drew those that segmentation networks train on, so they rate these higher than real defects do: between the kinds they only tell
what is blind (decision 13)."""


@dataclass(frozen=True)
class Fusion:
    """``chosen``: numbers of the detectors that are read. ``reductions``: of them. ``guide``: weight of their classification
    heads, None where they have none. ``share``: what segmentation networks weigh, None where one kind alone is read. ``value``:
    of the objective. ``tried``: the objective of what was looked at. ``left_out``: the kind that was not worth reading, or "".
    """

    chosen: tuple[int, ...]
    reductions: tuple[int, ...]
    readings: tuple[Reading, ...]
    value: float
    tried: dict[str, float]
    guide: float | None = None
    left_out: str = ""
    share: float | None = None


def choose_fusion(detectors: Sequence[Detector], reductions: Sequence[int], tune: TuneSet) -> Fusion:
    """The mean of each kind of detectors, weighed by what each kind finds alone, unless one is blind, over the square that finds
    most; then, while it brings at least .01, another square; three at most.

    Of the segmentation networks' heads first: fused or not, whichever finds more, and fused where they are equal. The networks
    are left with the weight that was chosen. Ties go to the smaller square. Where all detectors are of one kind and see several
    views, each view is tried alone, too.
    """
    views = sorted(set(reductions))
    if not tune.defects:
        return Fusion(tuple(range(len(detectors))), tuple(reductions), tuple(Reading(view) for view in views), 0.0, {})
    whole = EVERY if len(views) > 1 else views[0]
    looks, guide = _guided(look(detectors, tune, reductions), whole)
    tried: dict[str, float] = {}
    kinds = [kind for kind in get_args(Kind) if kind in {detector.kind for detector in detectors}]
    alone = {kind: max(_judged(looks, [Reading(whole, 1, side, kind)], tried) for side in SIDES) for kind in kinds}
    weaker = min(kinds, key=lambda kind: alone[kind])
    left_out = weaker if len(kinds) > 1 and alone[weaker] < WORTH * max(alone.values()) else ""
    read = next(kind for kind in kinds if kind != left_out) if left_out else ""

    # Half and half, the weaker kind's false alarms on good parts set the threshold for both.
    share, both = None, sum(alone.values())
    if len(kinds) > 1 and not left_out:
        share = round(alone["segmentation"] / both, 2) if both else 0.5
    squares = (*((1, side) for side in SIDES), *WIDE)
    candidates = [Reading(whole, pool, side, read, 0.5 if share is None else share) for pool, side in squares]
    if len(kinds) == 1 and len(views) > 1:
        candidates = [Reading(view, 1, side, read) for view in views for side in SIDES] + candidates
    taken: list[Reading] = []
    best = float("-inf")
    while len(taken) < MOST:
        values = {one: _judged(looks, [*taken, one], tried) for one in candidates if one not in taken}
        reading = max(values, key=lambda one: values[one])  # the first of equals
        if taken and values[reading] < best + GAIN:
            break
        taken.append(reading)
        best = values[reading]
    inspector = Inspector(list(looks.detectors), 1.0, looks.reductions, taken)
    chosen = tuple(sorted({number for reading in taken for number in inspector.members(reading)}))
    return Fusion(chosen, tuple(looks.reductions[n] for n in chosen), tuple(taken), best, tried, guide, left_out, share)


def _judged(looks: Looks, readings: Sequence[Reading], tried: dict[str, float]) -> float:
    """The objective of ``readings``, kept in ``tried``."""
    name = " + ".join(map(str, readings))
    if name not in tried:
        tried[name] = round(judge(looks, readings).value, 3)
    return tried[name]


def _guided(looks: Looks, whole: int) -> tuple[Looks, float | None]:
    """``looks`` with the better weight of the segmentation networks' classification heads, and that weight."""
    guided = [n for n, detector in enumerate(looks.detectors) if isinstance(detector, SegmentationDetector)]
    if not guided:
        return looks, None
    found: list[tuple[float, float, Looks]] = []
    for guide in GUIDES:
        changed = [number for number in guided if looks.detectors[number].guide != guide]
        for number in changed:
            looks.detectors[number].guide = guide  # type: ignore[assignment]  # a segmentation network has it
        looks = look_again(looks, changed) if changed else looks
        value = max(judge(looks, [Reading(whole, 1, side, "segmentation")]).value for side in SIDES)
        found.append((round(value, 3), guide, looks))
    _, guide, looks = max(found, key=lambda one: one[0])  # the first of equals
    for number in guided:
        looks.detectors[number].guide = guide  # type: ignore[assignment]
    return looks, guide
