"""Small batches of a benchmark set: what 12, 16, 24 or 50 good images give, on the same test images.

    PYTHONPATH=$PWD python benchmarks/small_batches.py DATA PRODUCT OUT N…

Writes ``OUT/PRODUCT-N``: links to the images, and a ``split.csv`` of the product's test images and N of its training images. They
are drawn once, image by image and seeded, and a larger batch holds the smaller ones. Then ``changeover bench OUT``.
"""

import csv
import sys
from pathlib import Path

import numpy as np
from folds import lay


def main() -> None:
    product, out = (Path(sys.argv[1]) / sys.argv[2]).absolute(), Path(sys.argv[3])
    with (product / "split.csv").open(newline="", encoding="utf-8") as table:
        rows = [(row["file"], row["split"], row["group"]) for row in csv.DictReader(table)]
    train = sorted(row for row in rows if row[1] == "train")
    train = [train[number] for number in np.random.default_rng(1).permutation(len(train))]
    for size in map(int, sys.argv[4:]):
        if size > len(train):
            raise SystemExit(f"{product.name} has {len(train)} good training images, not {size}")
        lay(product, out / f"{product.name}-{size}", [*train[:size], *(row for row in rows if row[1] == "test")])


if __name__ == "__main__":
    main()
