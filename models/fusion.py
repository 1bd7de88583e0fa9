"""Fusion: which of the trained views count, and how smooth their maps are, chosen on tuning images and exam defects alone."""

from collections.abc import Sequence
from dataclasses import dataclass

from models.detector import Detector
from models.objective import TuneSet, judge, look

SMOOTHINGS = (3, 5, 9, 15)


@dataclass(frozen=True)
class Fusion:
    """``chosen``: numbers of the detectors that count. ``reductions``, ``smooths``: of them. ``value``: of the objective.
    ``tried``: the objective of every combination looked at, by what it is called in the report."""

    chosen: tuple[int, ...]
    reductions: tuple[int, ...]
    smooths: tuple[int, ...]
    value: float
    tried: dict[str, float]


def choose_fusion(detectors: Sequence[Detector], reductions: Sequence[int], tune: TuneSet) -> Fusion:
    """First each view's smoothing (the smaller wins a tie), then the views: each alone, or all of them (fewer win a tie)."""
    numbers = tuple(range(len(detectors)))
    if not tune.defects:
        return Fusion(numbers, tuple(reductions), (5,) * len(detectors), 0.0, {})
    looks = look(detectors, tune, reductions)
    tried: dict[str, float] = {}
    smooths: dict[int, int] = {}
    for view in sorted(set(reductions)):
        members = [n for n in numbers if reductions[n] == view]
        values = {side: round(judge(looks, members, [side] * len(members)).value, 3) for side in SMOOTHINGS}
        smooths[view] = max(SMOOTHINGS, key=lambda side: (values[side], -side))
        tried |= {f"1/{view}, smoothed over {side} px": value for side, value in values.items()}
    best = Fusion((), (), (), float("-inf"), {})
    views = sorted(smooths)
    for together in [*([view] for view in views), *([views] if len(views) > 1 else [])]:
        members = [n for n in numbers if reductions[n] in together]
        sides = [smooths[reductions[n]] for n in members]
        value = round(judge(looks, members, sides).value, 3)
        tried[" and ".join(f"1/{view}" for view in together)] = value
        if value > best.value:
            best = Fusion(tuple(members), tuple(reductions[n] for n in members), tuple(sides), value, {})
    return Fusion(best.chosen, best.reductions, best.smooths, best.value, tried)
