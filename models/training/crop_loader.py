"""Processes that draw training crops ahead of the steps: started once, alive through a whole training, gone after it."""

import multiprocessing
import os
import threading
from collections.abc import Iterator
from multiprocessing.connection import wait
from types import TracebackType

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from models.trainable import TrainingBatch
from models.training.crops import Course, CropSeries

AHEAD = 4
"""Batches that each process has drawn in advance, at most."""


class CropLoader:
    """Batches of a series, drawn by ``workers`` processes (0: this one); use it in a ``with`` statement, which ends them.

    They start at the first batch, however Python starts processes here (fork, forkserver, spawn): a start takes a second to
    ten, so that it must not be paid at each of twenty paces. They end, too, when this process is killed.
    """

    def __init__(self, series: CropSeries, batch_size: int, workers: int) -> None:
        self._order = _Order(batch_size)
        self._loader: DataLoader[tuple[Tensor, ...]] = DataLoader(
            series,
            batch_sampler=self._order,
            num_workers=workers,
            collate_fn=_collate,
            generator=torch.Generator(),  # without one it draws from the global generator, and a resumed run would differ
            worker_init_fn=_end_with_parent,
            prefetch_factor=AHEAD if workers else None,
            persistent_workers=workers > 0,
        )

    def batches(self, first_step: int, steps: int, course: Course | None = None) -> Iterator[TrainingBatch]:
        """Batches number ``first_step`` to ``steps - 1`` in order; ``course``: by which they are drawn, None for that of the
        series' plan. One such iteration at a time; one that was left early may be followed by another."""
        self._order.steps, self._order.course = range(first_step, steps), course
        yield from self._loader

    def __enter__(self) -> "CropLoader":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # Left to garbage collection, they would live as long as somebody looks at the error.
        running = getattr(self._loader, "_iterator", None)
        if running is not None:
            running._shutdown_workers()
            self._loader._iterator = None


class _Order:
    """Numbers of the crops of each batch. The course goes with them: processes that live on have no other way to learn of it."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size, self.steps, self.course = batch_size, range(0), None

    steps: range
    course: Course | None

    def __iter__(self) -> Iterator[list[tuple[int, Course | None]]]:
        size, course = self.batch_size, self.course
        for step in self.steps:
            yield [(crop, course) for crop in range(step * size, (step + 1) * size)]


def _end_with_parent(worker: int) -> None:
    """PyTorch's own watch looks at the process that forked it: with a forkserver, that is one which lives as long as its
    children do, so that they would wait for each other for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent.sentinel,), daemon=True).start()


def _exit_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def _collate(items: list[tuple[Tensor, ...]]) -> TrainingBatch:
    images, labels, *clean = (torch.stack(column) for column in zip(*items, strict=True))
    images, *clean = (stack.contiguous(memory_format=torch.channels_last) for stack in (images, *clean))
    return TrainingBatch(images, labels, (labels.amax((1, 2, 3)) > 0.5).float(), *clean)
