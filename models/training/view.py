"""Views: the resolutions that detectors see a product at."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class View:
    """``reduction``: how many pixels of working scale become one, along each side. ``side``: of its training crops in its own
    px."""

    reduction: int
    side: int
