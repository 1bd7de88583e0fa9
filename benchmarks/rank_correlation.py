"""Does the objective know? Rank correlation between it and the image AUROC on real test images, over trials.

    python benchmarks/rank_correlation.py PRODUCT_DIR EXAM_DIR MODEL_ONNX MODEL_ONNX ...

EXAM_DIR is the working folder of ``changeover bench --keep`` for this product: its frozen exam defects (subset lock) and good
lock and calibration images give every model's objective, PRODUCT_DIR's test images its AUROC. Prints one line a model and the
correlation.
The test images choose nothing here: they evaluate_fusion the objective.
"""

import sys
from pathlib import Path

from scipy.stats import spearmanr

from data.batch import BatchFolder
from data.benchmark_set import read_set
from models.evaluation.assemble import score_images
from models.evaluation.exam import read_batch
from models.evaluation.measure import measure
from models.evaluation.objective import objective_of
from models.exported import ExportedInspector

if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    product, batch = read_set(Path(sys.argv[1])), read_batch(BatchFolder(Path(sys.argv[2])), ("train", "calibrate", "test"))
    pairs = []
    for file in sys.argv[3:]:
        inspector = ExportedInspector(Path(file))
        good = score_images(inspector, batch.good["calibrate"] + batch.good["test"])
        defects = [(e.exam, e.seen.map[::2, ::2]) for e in score_images(inspector, batch.defects["test"])]
        value = objective_of([e.seen.score for e in good], defects).value
        real = measure(inspector, product.test)
        pairs.append((value, real["image_auroc"]))
        print(
            f"{file}: objective {value:.3f}, image AUROC {real['image_auroc']:.3f}, pixel AP {real['pixel_ap']:.3f}", flush=True
        )
    print(f"rank correlation over {len(pairs)} models: {spearmanr([a for a, _ in pairs], [b for _, b in pairs]).statistic:.2f}")
