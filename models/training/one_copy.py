"""Images that several processes read: a process that does not inherit this one's memory maps a file instead of copying them."""

import math
import mmap
import os
import tempfile
import weakref
from collections.abc import Sequence
from multiprocessing import context, reduction
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_Kind = tuple[str, tuple[int, ...]]
"""Type and shape of an array."""


class OneCopy:
    """A list of arrays that is given to processes which are started by spawn or forkserver: twelve of them, and several hundred
    images, would not fit into memory as often as that. The file has no name: nothing is left of it, not even after a kill."""

    def __init__(self, arrays: Sequence[Array]) -> None:
        self.arrays = list(arrays)
        self._file: int | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        if context.get_spawning_popen() is None or not self.arrays:
            return OneCopy, (self.arrays,)
        try:
            if self._file is None:  # one for all processes, as long as some may be started
                self._file = _written(self.arrays)
                weakref.finalize(self, os.close, self._file)
        except OSError:  # no room for a file: then each has a copy
            return OneCopy, (self.arrays,)
        kinds = [(array.dtype.str, array.shape) for array in self.arrays]
        return _mapped, (reduction.DupFd(self._file), kinds)


def _written(arrays: Sequence[Array]) -> int:
    """Descriptor of a file with the arrays, one after the other."""
    with tempfile.TemporaryFile() as file:
        for array in arrays:
            file.write(np.ascontiguousarray(array).data)
        file.flush()
        return os.dup(file.fileno())


def _mapped(descriptor: Any, kinds: list[_Kind]) -> OneCopy:
    number = descriptor.detach()
    whole = mmap.mmap(number, 0, access=mmap.ACCESS_COPY)  # writable as the originals are; what is not written to is shared
    os.close(number)
    arrays, at = [], 0
    for kind, shape in kinds:
        count = math.prod(shape)
        arrays.append(np.frombuffer(whole, kind, count, at).reshape(shape))
        at += count * np.dtype(kind).itemsize
    return OneCopy(arrays)
