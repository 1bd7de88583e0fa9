"""Overkill, escape and the other figures of one exported inspector on real test images, looked at once.

    python benchmarks/real_defects.py PRODUCT_DIR MODEL_ONNX

PRODUCT_DIR is laid out as ``data/benchmark_set.py`` says; only files of split ``test`` are read. Prints one JSON object. Nothing
here may be used to choose a model or a threshold. ``changeover bench`` trains as well.
"""

import json
import sys
from pathlib import Path

from data.benchmark_set import read_set
from models.evaluation.measure import measure
from models.exported import ExportedInspector

if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    product, inspector = read_set(Path(sys.argv[1])), ExportedInspector(Path(sys.argv[2]))
    print(json.dumps({"product": product.name, "threshold": inspector.threshold, **measure(inspector, product.test)}, indent=2))
