"""Folds by part of a benchmark set: where few parts are in its test set, one split alone cannot tell good from better.

    PYTHONPATH=$PWD python benchmarks/folds.py DATA PRODUCT OUT [FOLDS]

Writes ``OUT/PRODUCT-fold1`` and so on (3): links to the images, and a ``split.csv`` in which each part's images, good and
defective, are test images of one fold, and its good ones train the others. Then ``changeover bench OUT``.
"""

import csv
import sys
from pathlib import Path


def lay(product: Path, folder: Path, rows: list[tuple[str, str, str]]) -> None:
    """A set in ``folder`` with the images of ``product`` and a ``split.csv`` of ``rows``: file, split and group."""
    folder.mkdir(parents=True)
    for name in ("good", "defect", "mask"):
        (folder / name).symlink_to(product / name)
    with (folder / "split.csv").open("w", newline="", encoding="utf-8") as table:
        csv.writer(table).writerows([("file", "split", "group"), *rows])


def main() -> None:
    product, out = (Path(sys.argv[1]) / sys.argv[2]).absolute(), Path(sys.argv[3])
    folds = int(sys.argv[4]) if len(sys.argv) > 4 else 3
    with (product / "split.csv").open(newline="", encoding="utf-8") as table:
        rows = [(row["file"], row["group"]) for row in csv.DictReader(table)]
    fold_of = {part: number % folds for number, part in enumerate(sorted({part for _, part in rows}))}
    for fold in range(folds):
        found = []
        for file, part in rows:
            if fold_of[part] == fold:
                found.append((file, "test", part))
            elif file.startswith("good/"):
                found.append((file, "train", part))
        lay(product, out / f"{product.name}-fold{fold + 1}", found)


if __name__ == "__main__":
    main()
