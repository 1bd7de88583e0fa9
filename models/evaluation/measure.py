"""Figures of an exported inspector on real test images. They only ever measure: nothing may be chosen on them."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from core.errors import BadBatch
from data.benchmark_set import TestImage
from models.evaluation.metrics import aupro, auroc, average_precision, f1_max, pooled
from models.evaluation.rate import rate
from models.exported import ExportedInspector


def measure(
    inspector: ExportedInspector, images: Sequence[TestImage], on_image: Callable[[int], None] = lambda count: None
) -> dict[str, Any]:
    """Every figure of the benchmark table: overkill and escape at the threshold with 95 % bounds, image AUROC (in all and by
    kind of defect), image average precision, largest F1, pixel AP, AUPRO, milliseconds an image. ``on_image`` is called with the
    number of images done. BadBatch unless there are both good and defective images.

    What is not judged is rejected at every threshold: it ranks above all scores, counts as overkill and not as an escape, and
    stands under ``not_judged``, good and defective images apart."""
    kinds = sorted({image.kind for image in images if image.kind})
    if not kinds or all(image.kind for image in images):
        raise BadBatch(f"{len(images)} test images of kinds {kinds} cannot measure anything; both good and defective are needed")
    scores: dict[str | None, list[float]] = {}
    maps, labels, spent, missed = [], [], 0.0, {True: 0, False: 0}
    for number, image in enumerate(images):
        pixels, label = image.read(inspector.channels)
        started = time.monotonic()
        seen = inspector.inspect(pixels)
        spent += time.monotonic() - started
        scores.setdefault(image.kind, []).append(seen.score if seen.judged else math.inf)
        missed[image.kind is None] += not seen.judged
        maps.append(seen.map.astype(np.float32)[::2, ::2])
        labels.append(label[::2, ::2])
        on_image(number + 1)
    good, bad = scores[None], [score for kind in kinds for score in scores[kind]]
    truth, values = pooled(maps, labels, stride=1)
    marks, every = [0] * len(good) + [1] * len(bad), good + bad
    return {
        "overkill": asdict(rate(sum(s > inspector.threshold for s in good), len(good))),
        "escape": asdict(rate(sum(s <= inspector.threshold for s in bad), len(bad))),
        "not_judged": {"good": asdict(rate(missed[True], len(good))), "defects": asdict(rate(missed[False], len(bad)))},
        "image_auroc": round(auroc(marks, every), 4),
        "image_ap": round(average_precision(marks, every), 4),
        "f1_max": round(f1_max(marks, every)[0], 4),
        "pixel_ap": round(average_precision(truth, values), 4),
        "aupro": round(aupro(maps, labels, stride=1), 4),
        "kinds": {str(k): round(auroc([0] * len(good) + [1] * len(scores[k]), good + scores[k]), 4) for k in kinds},
        "ms_per_image": round(1000 * spent / len(images), 1),
    }
