"""Overkill and escape of an exported inspector on real test images, looked at once.

    python benchmarks/real_defects.py PRODUCT_DIR MODEL_ONNX

PRODUCT_DIR is laid out as ``split.csv`` (columns file, split), ``good/``, ``defect/<kind>/`` and ``mask/<kind>/<stem>.png``;
only files of split ``test`` are read. Prints one JSON object. Nothing here may be used to choose a model or a threshold.
"""

import csv
import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from data.image import read_image
from models.exported import ExportedInspector
from models.metrics import auroc, average_precision, pooled, rate


def measure(product: Path, model: Path) -> dict[str, object]:
    """Every figure that the benchmark table has a column for."""
    inspector = ExportedInspector(model)
    with (product / "split.csv").open(newline="", encoding="utf-8") as stream:
        files = [row["file"] for row in csv.DictReader(stream) if row["split"] == "test"]
    scores: dict[str, list[float]] = {}
    maps, labels = [], []
    started = time.monotonic()
    for file in files:
        image = read_image(product / file)
        seen = inspector.inspect(image)
        parts = Path(file).parts
        kind = parts[1] if parts[0] == "defect" else "good"
        scores.setdefault(kind, []).append(seen.score)
        label = np.zeros(image.shape[:2], np.float32)
        mask = product / "mask" / kind / f"{Path(file).stem}.png"
        if kind != "good" and mask.exists():
            label = cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255.0
        maps.append(seen.map)
        labels.append(label)
    seconds = time.monotonic() - started
    good, kinds = scores["good"], sorted(set(scores) - {"good"})
    bad = [score for kind in kinds for score in scores[kind]]
    truth, values = pooled(maps, labels)
    return {
        "product": product.name,
        "threshold": inspector.threshold,
        "overkill": rate(sum(s > inspector.threshold for s in good), len(good)).as_dict(),
        "escape": rate(sum(s <= inspector.threshold for s in bad), len(bad)).as_dict(),
        "image_auroc": round(auroc([0] * len(good) + [1] * len(bad), good + bad), 4),
        "pixel_ap": round(average_precision(truth, values), 4),
        "kinds": {k: round(auroc([0] * len(good) + [1] * len(scores[k]), good + scores[k]), 4) for k in kinds},
        "ms_per_image": round(1000 * seconds / len(files), 1),
    }


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print(json.dumps(measure(Path(sys.argv[1]), Path(sys.argv[2])), indent=2))
