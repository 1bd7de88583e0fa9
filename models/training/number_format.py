"""The number format of a training: bfloat16 where the processor has instructions for it, else float32.

Without such instructions a processor imitates bfloat16, and a step takes up to twenty times as long; with them it takes half. A
processor's name does not show which, and settings of the libraries count too. So a small convolution is measured.
"""

import time
from contextlib import AbstractContextManager
from functools import cache
from typing import Final, Literal

import torch
from torch import nn

Format = Literal["bfloat16", "float32"]
_TRIALS: Final = 8


def computing_in(form: Format, device: torch.device) -> AbstractContextManager[None]:
    """Inside, networks on ``device`` compute in ``form``; weights and what is sensitive stay in float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=form == "bfloat16")


@cache
def fastest_on(device: torch.device) -> Format:
    """The faster format on ``device``; measured once a process."""
    if device.type == "cuda":
        # Only cards from 2020 on (compute capability 8.0) have bfloat16 of their own.
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    taken = _seconds()
    return "bfloat16" if taken["bfloat16"] < taken["float32"] else "float32"


def _seconds() -> dict[Format, float]:
    """Seconds of the processor's time that a convolution of 32 channels takes in each format, forwards and backwards: the least
    of some passes in turn, after one that warms up. With one thread: several wait for each other where other programs hold the
    processor, and that would count."""
    cpu, threads = torch.device("cpu"), torch.get_num_threads()
    torch.set_num_threads(1)
    layer = nn.Conv2d(32, 32, 3, padding=1).to(memory_format=torch.channels_last)
    images = torch.ones(4, 32, 48, 48).contiguous(memory_format=torch.channels_last)
    taken: dict[Format, list[float]] = {"float32": [], "bfloat16": []}
    for _ in range(1 + _TRIALS):
        for form, seconds in taken.items():
            started = time.process_time()
            with computing_in(form, cpu):
                made = layer(images)
            made.float().sum().backward()
            seconds.append(time.process_time() - started)
    torch.set_num_threads(threads)
    return {form: min(seconds[1:]) for form, seconds in taken.items()}
