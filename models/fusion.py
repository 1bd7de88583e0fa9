"""Fusion: which views count and how their maps are read, chosen on tuning images and exam defects alone."""

from collections.abc import Sequence
from dataclasses import dataclass

from models.detector import Detector
from models.inspector import Reading
from models.objective import TuneSet, judge, look

SIDES = (3, 5, 9, 15)
WIDE = ((4, 9), (8, 9))
"""Pools and sides of readings wider than that: 36 and 72 px."""
MOST, GAIN = 3, 0.01
"""Readings at most, and what each further one has to bring."""


@dataclass(frozen=True)
class Fusion:
    """``chosen``: numbers of the detectors that are read. ``reductions``: of them. ``value``: of the objective. ``tried``: the
    objective of what was looked at."""

    chosen: tuple[int, ...]
    reductions: tuple[int, ...]
    readings: tuple[Reading, ...]
    value: float
    tried: dict[str, float]


def choose_fusion(detectors: Sequence[Detector], reductions: Sequence[int], tune: TuneSet) -> Fusion:
    """The best single reading, then, while it brings at least .01, the one that goes best with those taken; three at most.
    Ties go to the finer view and the smaller square."""
    views = sorted(set(reductions))
    if not tune.defects:
        return Fusion(tuple(range(len(detectors))), tuple(reductions), tuple(Reading(view) for view in views), 0.0, {})
    looks = look(detectors, tune, reductions)
    candidates = [
        Reading(view, pool, side)
        for view in views
        for pool, side in (*((1, side) for side in SIDES), *(WIDE if view == 1 else ()))
    ]
    taken: list[Reading] = []
    best = float("-inf")
    tried: dict[str, float] = {}
    while len(taken) < MOST:
        values = {reading: round(judge(looks, [*taken, reading]).value, 3) for reading in candidates if reading not in taken}
        tried |= {" + ".join(map(str, [*taken, reading])): value for reading, value in values.items()}
        reading = max(values, key=lambda r: values[r])  # the first of equals
        if taken and values[reading] < best + GAIN:
            break
        taken.append(reading)
        best = values[reading]
    chosen = tuple(n for n, reduction in enumerate(reductions) if reduction in {reading.view for reading in taken})
    return Fusion(chosen, tuple(reductions[n] for n in chosen), tuple(taken), best, tried)
