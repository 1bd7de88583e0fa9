"""What aligned statistics are worth alone: on real test images, looked at once, and on the rendered sample product.

    PYTHONPATH=$PWD python benchmarks/aligned.py [DATA PRODUCT…]

Built from all good training images of a product as ``data/benchmark_set.py`` finds it in DATA, with the settings of the
catalogue; nothing is chosen on test images. The sample product is always measured: 120 good images to build, 40 good and 60
defective ones to measure; beside it the same without registration, and PatchCore with the teacher ``imagenet``. Prints a table
in Markdown; seconds and milliseconds on one thread.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data.benchmark_set import BenchmarkSet, read_set
from data.image import read_image
from data.sample.pictures import write_sample
from models.detectors.aligned_statistics import AlignedStatistics
from models.detectors.catalogue import NETWORKS, build_detector
from models.detectors.detector import Detector
from models.detectors.registration import Registration
from models.detectors.teaching import teach, with_teacher
from models.detectors.template_frame import Registered
from models.evaluation.metrics import auroc
from models.exported import ExportedInspector
from models.inspection.export import export
from models.inspection.inspector import Inspector
from models.inspection.preprocess import at_working_scale, normalise, working_scale
from models.settings import TuneSettings
from models.teachers.imagenet import write_imagenet
from models.teachers.teacher_file import read_teacher
from models.training.memory_bank import fill_memory_bank


class InPlace(Registration):
    """Takes every part to lie where the template's does."""

    def forward(self, images: Tensor, but: int | None = None) -> Registered:
        """As of ``Registration``."""
        found = super().forward(images, but)
        return Registered(torch.eye(3).expand_as(found.affine), torch.ones_like(found.confidence), found.frame, found.chosen)


def aligned(channels: int) -> Detector:
    """Of the catalogue."""
    network = NETWORKS["aligned_statistics"]
    return build_detector(network.detector.family, channels, network.settings)


class Unregistered(AlignedStatistics):
    """The same statistics, of parts where they lie."""

    registers = InPlace


def unregistered(channels: int) -> Detector:
    """As the catalogue says, but for the registration."""
    return Unregistered(channels, **NETWORKS["aligned_statistics"].settings)


def patchcore(channels: int) -> Detector:
    """Of the catalogue, with the teacher that comes with Changeover."""
    with tempfile.TemporaryDirectory() as scratch:
        write_imagenet(Path(scratch))
        teacher = read_teacher(Path(scratch))
    network = NETWORKS["patchcore"]
    card = None if teacher is None else teacher.card
    detector = build_detector("patchcore", channels, with_teacher("patchcore", network.settings, card))
    teach(detector, teacher)
    return detector


def measured(product: BenchmarkSet, folder: Path, make: Callable[[int], Detector] = aligned) -> str:
    """A line of the table."""
    files = [file for file, _ in product.train]
    images = [read_image(file) for file in files]
    channels = images[0].shape[2]
    images = [image for image in images if image.shape[2] == channels]
    scale = working_scale(images, TuneSettings().max_pixels)
    small = [at_working_scale(image, scale) for image in images]
    started = time.monotonic()
    torch.manual_seed(0)  # PatchCore draws
    side = min(192, *(side // 32 * 32 for image in small for side in image.shape[:2]))
    pixels = np.stack([image[:side, :side] for image in small[:16]])
    crops = normalise(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255.0)
    detector, _ = fill_memory_bank(make(channels), crops, small)
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
    says = "no" if len(set(scores)) == 1 else "yes"
    return (
        f"| {product.name} | {make.__name__} | {len(images)} of {width} × {height} | {says} | {auroc(labels, scores):.3f} | "
        f"{built:.0f} | {np.median(spent):.0f} | {size:.1f} |"
    )


def main(arguments: Sequence[str]) -> None:
    torch.set_num_threads(1)
    print("| product | detector | good images, px | says something | image AUROC | s to build | ms an image | MB |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_sample(folder / "sample", good=160, defects=60, seed=1)
        for make in (aligned, unregistered, patchcore):
            print(measured(read_set(folder / "sample"), folder, make), flush=True)
        for name in arguments[1:]:
            print(measured(read_set(Path(arguments[0]) / name), folder), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
