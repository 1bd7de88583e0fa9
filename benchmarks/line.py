"""What a model costs on a line PC: milliseconds an image on one core, and megabytes, of the exported file and of each part alone.

    PYTHONPATH=$PWD python benchmarks/line.py KEPT HEIGHTxWIDTH…

KEPT is what ``changeover bench DATA -p PRODUCT --keep FOLDER`` left (``FOLDER/PRODUCT``). The median of nine images of noise,
after two to warm up; what an image shows changes nothing. Prints a table in Markdown.
"""

import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from data.batch import BatchFolder
from models.exported import ExportedInspector
from models.inspection.export import export
from models.inspection.inspector import Inspector
from models.training.trained import read_trained


def milliseconds(inspector: ExportedInspector, height: int, width: int) -> float:
    """Of one image, on one core."""
    image = np.random.default_rng(0).integers(0, 255, (height, width, inspector.channels), np.uint8)
    spent = []
    for _ in range(11):
        begun = time.perf_counter()
        inspector.inspect(image)
        spent.append(1000 * (time.perf_counter() - begun))
    return median(spent[2:])


def main() -> None:
    kept, sizes = BatchFolder(Path(sys.argv[1])), [tuple(map(int, text.split("x"))) for text in sys.argv[2:]]
    whole = kept.file("model.onnx")
    channels = ExportedInspector(whole).channels
    detectors, training = read_trained(kept, channels)
    with tempfile.TemporaryDirectory() as scratch:
        files = {"shipped model": whole}
        for number, (detector, reduction) in enumerate(zip(detectors, training["reductions"], strict=True)):
            file = Path(scratch) / f"{number}.onnx"
            words = {
                "product": "bench",
                "batch": "bench",
                "detector": type(detector).__name__,
                "threshold": "0",
                "pixel_threshold": "0",
            }
            export(Inspector([detector], training["scale"], [reduction]).eval(), file, channels, words)
            files[f"network {number + 1}: {type(detector).__name__} 1/{reduction}"] = file
        print("| part | MB |", " | ".join(f"{h} × {w}, ms" for h, w in sizes), "|")
        print("|---|---|" + "---|" * len(sizes))
        for name, file in files.items():
            inspector = ExportedInspector(file, threads=1)
            cells = " | ".join(f"{milliseconds(inspector, *size):.0f}" for size in sizes)
            print(f"| {name} | {file.stat().st_size / 1e6:.1f} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
