"""Do exam defects tell the kinds of detectors apart as real ones do? Each kind, view and the mean of all, on both.

    PYTHONPATH=$PWD python benchmarks/kinds.py DATA PRODUCT KEPT

KEPT is what ``changeover bench DATA -p PRODUCT --keep FOLDER`` left (``FOLDER/PRODUCT``). Prints a row of Markdown a pooling: the
objective on exam defects of tuning images, and image AUROC, escape and overkill on the real test images, at a threshold from the
batch's calibration images for 5 %. It measures and chooses nothing.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from data.batch import BatchFolder
from data.benchmark_set import read_set
from models.evaluation.exam import read_batch
from models.evaluation.metrics import auroc
from models.evaluation.objective import cache_maps, evaluate_fusion, tune_set
from models.inspection.calibration import calibrate
from models.inspection.inspector import EVERY, Inspector, MapPooling, fit_fusion, raw_maps
from models.settings import EvaluateSettings
from models.training.trained import read_trained

SIDE = 3


@torch.no_grad()
def scores(inspector: Inspector, images: list[np.ndarray], maps: list[list[torch.Tensor]]) -> list[float]:
    """The largest value of each image's fused map."""
    sizes = [inspector.working(torch.from_numpy(image)[None]).shape[-2:] for image in images]
    return [float(inspector.fused(raw, *size).amax()) for raw, size in zip(maps, sizes, strict=True)]


def main() -> None:
    data, product, kept = Path(sys.argv[1]), sys.argv[2], BatchFolder(Path(sys.argv[3]))
    batch = read_batch(kept, ("train", "tune", "calibrate"))
    detectors, training = read_trained(kept, batch.channels)
    reductions, scale = training["reductions"], training["scale"]
    plain = Inspector(detectors, scale, reductions).eval()
    test = read_set(data / product).test
    shown = [image.read(batch.channels)[0] for image in test]
    held = [exam.image for exam in batch.good["calibrate"]]
    maps = {name: [raw_maps(plain, image) for image in images] for name, images in (("test", shown), ("held", held))}
    cached = cache_maps(detectors, tune_set(batch.good["tune"], batch.defects["tune"], scale), reductions)
    print("| pooling | exam objective | image AUROC | escape | overkill |", "|---|---|---|---|---|", sep="\n")
    for view in (*sorted(set(reductions)), EVERY):
        for kind in ("segmentation", "feature_distance", ""):
            pooling = MapPooling(view, 1, SIDE, kind)
            if not plain.members(pooling):
                continue
            inspector = Inspector(detectors, scale, reductions, [pooling]).eval()
            fit_fusion(inspector, cached.good)
            found = scores(inspector, shown, maps["test"])
            limit = calibrate(scores(inspector, held, maps["held"]), EvaluateSettings().overkill_target).threshold
            bad = np.array([image.kind is not None for image in test])
            over = np.array(found) > limit
            print(
                f"| {pooling} | {evaluate_fusion(cached, [pooling]).value:.3f} | {auroc(bad, found):.3f} | "
                f"{1 - over[bad].mean():.1%} | {over[~bad].mean():.1%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
