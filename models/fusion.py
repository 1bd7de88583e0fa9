"""Fusion: which views count and how their maps are read, chosen on tuning images and exam defects alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from models.detector import Detector, Kind
from models.inspector import EVERY, Inspector, Reading
from models.objective import Looks, TuneSet, judge, look, look_again
from models.segmentation import SegmentationDetector

SIDES = (3, 5, 9, 15)
WIDE = ((4, 9), (8, 9))
"""Pools and sides of readings wider than that: 36 and 72 px."""
GUIDES = (1.0, 0.0)
"""Weights of the segmentation networks' classification heads in their maps: on some products they help, on others they harm."""
MOST, GAIN = 3, 0.01
"""Readings at most, and what each further one has to bring."""


@dataclass(frozen=True)
class Fusion:
    """``chosen``: numbers of the detectors that are read. ``reductions``: of them. ``guide``: weight of their classification
    heads, None where they have none. ``value``: of the objective. ``tried``: the objective of what was looked at."""

    chosen: tuple[int, ...]
    reductions: tuple[int, ...]
    readings: tuple[Reading, ...]
    value: float
    tried: dict[str, float]
    guide: float | None = None


def choose_fusion(detectors: Sequence[Detector], reductions: Sequence[int], tune: TuneSet) -> Fusion:
    """The best single reading, then, while it brings at least .01, the one that goes best with those taken; three at most.

    Where a view has detectors of both kinds, each kind is read alone, and both averaged; the first reading is never of those that
    compare alone. Ties go to the finer view, there to the segmentation networks, then to one kind alone, and to the smaller
    square. With segmentation networks, for their heads fused
    and not: the better, and fused where they are equal. The networks are left with the weight that was chosen.
    """
    views = sorted(set(reductions))
    if not tune.defects:
        return Fusion(tuple(range(len(detectors))), tuple(reductions), tuple(Reading(view) for view in views), 0.0, {})
    guided = [detector for detector in detectors if isinstance(detector, SegmentationDetector)]
    found: list[Fusion] = []
    looks: Looks | None = None
    for guide in GUIDES if guided else (None,):
        _set_guide(guided, guide)
        changed = [n for n, detector in enumerate(detectors) if detector in guided]
        looks = look(detectors, tune, reductions) if looks is None else look_again(looks, changed)
        found.append(_choose_readings(looks, guide))
    best = max(found, key=lambda fusion: fusion.value)  # the first of equals
    _set_guide(guided, best.guide)
    return best


def _set_guide(detectors: Sequence[SegmentationDetector], guide: float | None) -> None:
    for detector in detectors:
        detector.guide = guide if guide is not None else detector.guide


def _choose_readings(looks: Looks, guide: float | None) -> Fusion:
    reductions, views = looks.reductions, sorted(set(looks.reductions))
    candidates = [
        Reading(view, pool, side, kind)
        for view in (*views, *([EVERY] if len(views) > 1 else ()))
        for kind in _kinds(looks, view)
        for pool, side in (*((1, side) for side in SIDES), *(WIDE if view == 1 else ()))
    ]
    taken: list[Reading] = []
    best = float("-inf")
    tried: dict[str, float] = {}
    while len(taken) < MOST:
        open_now = [one for one in candidates if one not in taken]
        values = {reading: round(judge(looks, [*taken, reading]).value, 3) for reading in open_now}
        tried |= {" + ".join(map(str, [*taken, reading])): value for reading, value in values.items()}
        reading = max(values, key=lambda r: values[r])  # the first of equals
        if taken and values[reading] < best + GAIN:
            break
        taken.append(reading)
        best = values[reading]
    inspector = Inspector(list(looks.detectors), 1.0, reductions, taken)
    chosen = tuple(sorted({number for reading in taken for number in inspector.members(reading)}))
    return Fusion(chosen, tuple(reductions[n] for n in chosen), tuple(taken), best, tried, guide)


def _kinds(looks: Looks, view: int) -> tuple[str, ...]:
    """What a reading of ``view`` may read: each kind of its detectors, then all of them."""
    seen = zip(looks.detectors, looks.reductions, strict=True)
    present = {detector.kind for detector, reduction in seen if view in (EVERY, reduction)}
    return (*get_args(Kind), "") if len(present) > 1 else ("",)
