"""Fusion: how the maps of all detectors become one, chosen on tuning images and exam defects alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from models.detectors.detector import Detector, Kind
from models.detectors.segmentation import SegmentationDetector
from models.evaluation.objective import MapCache, TuneSet, cache_maps, evaluate_fusion, update_maps
from models.inspection.inspector import EVERY, Inspector, MapPooling

SIDES = (3, 5, 9, 15)
WIDE = ((4, 9), (8, 9))
"""Pools and sides of wider squares: 36 and 72 px."""
CLASSIFICATION_WEIGHTS = (1.0, 0.0)
"""Weights of the segmentation networks' classification heads in their maps: on some products they help, on others they harm."""
MOST, GAIN = 3, 0.01
"""Readings at most, and what each further one has to bring."""
WORTH = 0.4
"""A kind is read if it alone reaches this share of the better kind's objective. Exam defects and the defects that segmentation
networks train on come from the same hand, so they rate these networks higher than real defects do. Between the kinds they can
only show which one is blind (decision 13)."""


@dataclass(frozen=True)
class Fusion:
    """``chosen``: numbers of the detectors that are read; ``reductions``: of their views. ``classification_weight``: of their
    classification heads, None where they have none. ``share``: weight of the segmentation networks, None where one kind alone is
    read. ``value``: the objective. ``tried``: the objective of everything that was tried. ``left_out``: the kind that was not
    worth pooling, or ""."""

    chosen: tuple[int, ...]
    reductions: tuple[int, ...]
    poolings: tuple[MapPooling, ...]
    value: float
    tried: dict[str, float]
    classification_weight: float | None = None
    left_out: str = ""
    share: float | None = None


def choose_fusion(detectors: Sequence[Detector], reductions: Sequence[int], tune: TuneSet) -> Fusion:
    """Choose the fusion. Maps are averaged within each kind of detectors, and the kinds are weighed by what each finds alone; a
    blind kind is left out. The square that finds most is read first, then further ones while each brings at least .01; three at
    most.

    Before that, the segmentation networks' two heads are fused or not, whichever finds more; fused in a tie. The networks keep
    the weight that was chosen. A tie between squares goes to the smaller one. Where all detectors are of one kind and see
    several views, each view is tried alone, too.
    """
    views = sorted(set(reductions))
    if not tune.defects:
        return Fusion(tuple(range(len(detectors))), tuple(reductions), tuple(MapPooling(view) for view in views), 0.0, {})
    whole = EVERY if len(views) > 1 else views[0]
    cached, classification_weight = _weighted(cache_maps(detectors, tune, reductions), whole)
    tried: dict[str, float] = {}
    kinds = [kind for kind in get_args(Kind) if kind in {detector.kind for detector in detectors}]
    alone = {kind: max(_evaluated(cached, [MapPooling(whole, 1, side, kind)], tried) for side in SIDES) for kind in kinds}
    weaker = min(kinds, key=lambda kind: alone[kind])
    left_out = weaker if len(kinds) > 1 and alone[weaker] < WORTH * max(alone.values()) else ""
    read = next(kind for kind in kinds if kind != left_out) if left_out else ""

    # Half and half, the weaker kind's false alarms on good parts set the threshold for both.
    share, both = None, sum(alone.values())
    if len(kinds) > 1 and not left_out:
        share = round(alone["segmentation"] / both, 2) if both else 0.5
    squares = (*((1, side) for side in SIDES), *WIDE)
    candidates = [MapPooling(whole, pool, side, read, 0.5 if share is None else share) for pool, side in squares]
    if len(kinds) == 1 and len(views) > 1:
        candidates = [MapPooling(view, 1, side, read) for view in views for side in SIDES] + candidates
    taken: list[MapPooling] = []
    best = float("-inf")
    while len(taken) < MOST:
        values = {one: _evaluated(cached, [*taken, one], tried) for one in candidates if one not in taken}
        pooling = max(values, key=lambda one: values[one])  # the first of equals
        if taken and values[pooling] < best + GAIN:
            break
        taken.append(pooling)
        best = values[pooling]
    inspector = Inspector(list(cached.detectors), 1.0, cached.reductions, taken)
    chosen = tuple(sorted({number for pooling in taken for number in inspector.members(pooling)}))
    return Fusion(
        chosen, tuple(cached.reductions[n] for n in chosen), tuple(taken), best, tried, classification_weight, left_out, share
    )


def _evaluated(cached: MapCache, poolings: Sequence[MapPooling], tried: dict[str, float]) -> float:
    """The objective of ``poolings``, kept in ``tried``."""
    name = " + ".join(map(str, poolings))
    if name not in tried:
        tried[name] = round(evaluate_fusion(cached, poolings).value, 3)
    return tried[name]


def _weighted(cached: MapCache, whole: int) -> tuple[MapCache, float | None]:
    """``cached`` with the better weight of the segmentation networks' classification heads, and that weight."""
    guided = [n for n, detector in enumerate(cached.detectors) if isinstance(detector, SegmentationDetector)]
    if not guided:
        return cached, None
    found: list[tuple[float, float, MapCache]] = []
    for classification_weight in CLASSIFICATION_WEIGHTS:
        changed = [number for number in guided if cached.detectors[number].classification_weight != classification_weight]
        for number in changed:
            cached.detectors[number].classification_weight = classification_weight  # type: ignore[assignment]  # a segmentation network has it
        cached = update_maps(cached, changed) if changed else cached
        value = max(evaluate_fusion(cached, [MapPooling(whole, 1, side, "segmentation")]).value for side in SIDES)
        found.append((round(value, 3), classification_weight, cached))
    _, classification_weight, cached = max(found, key=lambda one: one[0])  # the first of equals
    for number in guided:
        cached.detectors[number].classification_weight = classification_weight  # type: ignore[assignment]
    return cached, classification_weight
