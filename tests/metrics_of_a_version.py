"""``metrics.json`` of a version that shows nothing in particular."""

from dataclasses import asdict
from typing import Any

from models.evaluation.metrics_file import Metrics
from models.evaluation.rate import rate


def metrics_with(**parts: Any) -> Metrics:
    """Nothing but what every Changeover wrote, and ``parts`` as they stand in the file."""
    figures = {"overkill": asdict(rate(0, 10)), "escape": asdict(rate(1, 20)), "image_auroc": 0.9, "pixel_ap": 0.5}
    digests = {"model_digest": "a" * 64, "images_digest": "b" * 64}
    limits = {"threshold": 0.505, "pixel_threshold": 0.6, "overkill_target": 0.05}
    return Metrics.model_validate({"product": "bolt", "batch": "a", "passed": True, **figures, **digests, **limits, **parts})
