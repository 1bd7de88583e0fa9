"""What aligned statistics are worth alone: on real test images, looked at once, and on the rendered sample product.

    PYTHONPATH=$PWD python benchmarks/aligned.py [DATA PRODUCT…]

Built from all good training images of a product as ``data/benchmark_set.py`` finds it in DATA, with the settings of the
catalogue; nothing is chosen on test images. Without DATA only the sample product is measured: 120 good images to build, 40 good
and 60 defective ones to measure. Prints a table in Markdown; seconds and milliseconds on one thread.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from data.benchmark_set import BenchmarkSet, read_set
from data.image import read_image
from data.sample.pictures import write_sample
from models.detectors.catalogue import NETWORKS, build_detector
from models.evaluation.metrics import auroc
from models.exported import ExportedInspector
from models.inspection.export import export
from models.inspection.inspector import Inspector
from models.inspection.preprocess import at_working_scale, working_scale
from models.settings import TuneSettings
from models.training.memory_bank import fill_memory_bank


def measured(product: BenchmarkSet, folder: Path) -> str:
    """A line of the table."""
    files = [file for file, _ in product.train]
    images = [read_image(file) for file in files]
    channels = images[0].shape[2]
    images = [image for image in images if image.shape[2] == channels]
    scale = working_scale(images, TuneSettings().max_pixels)
    small = [at_working_scale(image, scale) for image in images]
    network = NETWORKS["aligned_statistics"]
    started = time.monotonic()
    detector, _ = fill_memory_bank(build_detector(network.detector.family, channels, network.settings), torch.empty(0), small)
    built = time.monotonic() - started
    target = folder / "model.onnx"
    properties = {"product": product.name, "batch": "-", "detector": "-", "threshold": "nan", "pixel_threshold": "nan"}
    export(Inspector([detector], scale).eval(), target, channels, properties)
    inspector, spent = ExportedInspector(target, threads=1), []
    labels, scores = [], []
    for test in product.test:
        pixels, _ = test.read(channels)
        started = time.monotonic()
        inspection = inspector.inspect(pixels)
        spent.append(1000 * (time.monotonic() - started))
        labels.append(int(test.kind is not None))
        scores.append(inspection.score)
    height, width = images[0].shape[:2]
    size = target.stat().st_size / 1e6
    blind = len(set(scores)) == 1
    return (
        f"| {product.name} | {len(images)} of {width} × {height} | {'no' if blind else 'yes'} | {auroc(labels, scores):.3f} | "
        f"{built:.0f} | {np.median(spent):.0f} | {size:.1f} |"
    )


def main(arguments: Sequence[str]) -> None:
    torch.set_num_threads(1)
    print("| product | good images, px | says something | image AUROC | s to build | ms an image | MB |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_sample(folder / "sample", good=160, defects=60, seed=1)
        print(measured(read_set(folder / "sample"), folder), flush=True)
        for name in arguments[1:]:
            print(measured(read_set(Path(arguments[0]) / name), folder), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
