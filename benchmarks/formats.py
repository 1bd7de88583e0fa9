"""Seconds that a training step of every network takes in either number format, side by side in one run.

    PYTHONPATH=$PWD python benchmarks/formats.py [STEPS]

With ``ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2`` in the environment, as on a processor without bfloat16. One thread;
drawing is left out: the same batch is trained on. Prints a table; the least of STEPS steps (3) counts, after one.
"""

import sys
import time

import torch

from models.detectors.catalogue import NETWORKS
from models.trainable import TrainingBatch
from models.training.fit import Spec, _Run
from models.training.machine import environment
from models.training.number_format import Format, fastest_on

CPU = torch.device("cpu")
NAMES = ("unet3plus", "unetplusplus", "stpm", "rstpm", "denoising_student", "uninformed_students")
TAUGHT = "unet3plus from the teacher"
"""``unet3plus`` as a changeover trains it: its encoder is the teacher ``imagenet``'s network."""
ENCODER = {"encoder": "tu-tf_efficientnet_lite0", "depth": 4, "width": 8, "spread": 0.4}


def seconds(name: str, form: Format, steps: int) -> float:
    """The least that a step takes, 16 crops of 128 px."""
    family, settings = ("unet3plus", ENCODER) if name == TAUGHT else (NETWORKS[name].detector.family, NETWORKS[name].settings)
    good = torch.randn(16, 1, 128, 128, generator=torch.Generator().manual_seed(1))
    labels = torch.zeros(16, 1, 128, 128)
    labels[:8, :, 40:60, 40:60] = 1.0
    batch = TrainingBatch(good + labels, labels, labels.amax((1, 2, 3)), good)
    run = _Run(Spec(family, settings), 1, 1, CPU, form, good, lambda detector: None)
    taken = []
    for number in range(1 + steps):
        started = time.perf_counter()
        run.step(batch, 0.5, number)
        taken.append(time.perf_counter() - started)
    return min(taken[1:])


def main() -> None:
    torch.set_num_threads(1)
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    print(f"{environment()['cpu']}; {torch.backends.cpu.get_cpu_capability()}; chosen: {fastest_on(CPU)}")
    print("| network | bfloat16, s | float32, s | ratio |\n|---|---|---|---|")
    for name in (TAUGHT, *NAMES):
        coarse, fine = seconds(name, "bfloat16", steps), seconds(name, "float32", steps)
        print(f"| {name} | {coarse:.2f} | {fine:.2f} | {coarse / fine:.2f} |", flush=True)


if __name__ == "__main__":
    main()
