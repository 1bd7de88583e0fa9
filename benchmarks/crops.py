"""How many training crops of 128 × 128 are drawn a second, by one process and by as many as there are cores.

    python benchmarks/crops.py [PRODUCT_DIR ...]

On the sample plate, and on the good training images of the products named (see ``data/benchmark_set.py``).
"""

import multiprocessing
import os
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.benchmark_set import read_set
from data.defects.draw import draw_crop
from data.defects.foreground import foreground
from data.defects.recipe import Recipe
from data.defects.scale import measure_scale
from data.image import read_image
from data.sample.pictures import render_good
from models.inspection.preprocess import at_working_scale, working_scale

CROPS = 1500
CONTEXT = multiprocessing.get_context("spawn")


def draw(images: list[NDArray[np.uint8]], first: int, seconds: "multiprocessing.Queue[float]") -> None:
    """``CROPS`` crops from number ``first`` on, and how long they took."""
    scale, parts, recipe = measure_scale(images), [foreground(image) for image in images], Recipe()
    started = time.monotonic()
    for index in range(first, first + CROPS):
        draw_crop(recipe, scale, images, 128, 1, index, parts=parts)
    seconds.put(time.monotonic() - started)


def main() -> None:
    """Print one line a product."""
    products = {"sample plate": [render_good(i, 1) for i in range(12)]}
    for folder in sys.argv[1:]:
        files = [file for file, _ in read_set(Path(folder)).train]
        images = [read_image(files[i]) for i in np.linspace(0, len(files) - 1, min(24, len(files))).astype(int)]
        scale = working_scale(images, 700_000)
        products[Path(folder).name] = [at_working_scale(image, scale) for image in images]
    cores = len(os.sched_getaffinity(0))
    for name, images in products.items():
        rates = []
        for processes in (1, cores):
            seconds: multiprocessing.Queue[float] = CONTEXT.Queue()
            workers = [CONTEXT.Process(target=draw, args=(images, n * CROPS, seconds)) for n in range(processes)]
            for worker in workers:
                worker.start()
            rates.append(processes * CROPS / max(seconds.get() for _ in workers))
            for worker in workers:
                worker.join()
        print(f"{name}: {rates[0]:.0f} crops/s by one process, {rates[1]:.0f} by {cores}")


if __name__ == "__main__":
    main()
