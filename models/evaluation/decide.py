"""Does the champion still fit? It is run on the new good images; overkill and score drift against its calibration decide."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from data.image import in_channels
from models.evaluation.rate import Rate, rate
from models.exported import ExportedInspector

MAX_IMAGES = 40
DRIFT_LIMIT = 3.0


@dataclass(frozen=True)
class Decision:
    """``action`` "keep" ends the changeover. ``drift``: shift of the median score in robust spreads of the calibration scores."""

    action: Literal["keep", "retrain"]
    reason: str
    overkill: Rate | None = None
    drift: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """As it stands in ``decision.json``."""
        return asdict(self)


def decide(
    champion: ExportedInspector,
    calibrate_scores: Sequence[float],
    overkill_target: float,
    images: Sequence[Callable[[], NDArray[np.uint8]]],
) -> Decision:
    """Run ``champion`` on at most 40 of the new good ``images`` (called to load, evenly chosen) and ``compare``."""
    chosen = [images[i] for i in np.unique(np.linspace(0, len(images) - 1, min(MAX_IMAGES, len(images))).astype(int))]
    scores: list[float | None] = []
    for load in chosen:
        image = load()
        if image.shape[2] == 1 and champion.channels == 3:  # a batch without any colour, of a camera that sees colour
            image = in_channels(image, 3)
        if image.shape[2] != champion.channels:
            return Decision("retrain", f"the champion takes {champion.channels} channels, this batch has {image.shape[2]}")
        seen = champion.inspect(image)
        scores.append(seen.score if seen.judged else None)
    return compare(scores, champion.threshold, calibrate_scores, overkill_target)


def compare(
    scores: Sequence[float | None], threshold: float, calibrate_scores: Sequence[float], overkill_target: float
) -> Decision:
    """Keep the model that gave new good parts ``scores`` (None where it did not judge the image, which rejects it), or not.

    Kept only if the overkill is not significantly (lower 95 % bound) above what its calibration could promise, the target or
    ``1 / (n + 1)`` where ``n`` images were too few for that, and the median score moved by less than three robust spreads either
    way: a model that stopped reacting has drifted as much as one that reacts to everything.
    """
    judged = [score for score in scores if score is not None]
    missed = len(scores) - len(judged)
    rejected = rate(missed + sum(score > threshold for score in judged), len(scores))
    if not judged:
        return Decision("retrain", f"the champion could not judge any of {missed} new good images", rejected)
    before = np.asarray(calibrate_scores, np.float64)
    middle = float(np.median(before))
    # The distance to the threshold bounds the spread from below: a handful of equal scores must not make every change a drift.
    spread = max(1.4826 * float(np.median(np.abs(before - middle))), abs(threshold - middle) / 6.0, 1e-9)
    drift = (float(np.median(judged)) - middle) / spread
    figures = (
        f"the champion rejects {rejected.count} of {rejected.n} new good images"
        + (f" ({missed} of them not judged)" if missed else "")
        + f" and its scores moved by {drift:+.1f} spreads"
    )
    if rejected.low > max(overkill_target, 1.0 / (len(before) + 1)):
        return Decision("retrain", f"{figures}: more rejects than its calibration promised", rejected, drift)
    if abs(drift) > DRIFT_LIMIT:
        return Decision("retrain", f"{figures}: over the limit of {DRIFT_LIMIT:.0f}", rejected, drift)
    return Decision("keep", figures, rejected, drift)
