"""Training of a detector that learns nothing step by step: it takes in whole good images, once."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.detectors.detector import Detector, Whole
from models.inspection.inspector import MARGIN, whole_as_seen
from models.training.allocation import keep_freed_memory
from models.training.training_log import TrainingLog

Image = NDArray[np.uint8]


def fill_memory_bank(
    detector: Detector, crops: Tensor, images: Sequence[Image], validate: Callable[[Detector], float] | None = None
) -> tuple[Detector, TrainingLog]:
    """``detector`` (fresh, on its device), prepared on good ``crops`` (N, C, H, W) and with good ``images`` (H, W, C) in its
    memory; the log has one step, whose loss is the distance that ``build_memory_bank`` gives.

    Images are taken in as they are, not mirrored: test-time flips would show the detector what it has never seen.
    """
    keep_freed_memory()
    started, device = time.monotonic(), detector.device
    log = TrainingLog(1, 0, device=str(device), threads=torch.get_num_threads(), form="float32")
    detector.eval().prepare(crops.to(device))
    reach = detector.build_memory_bank((_whole(image, device) for image in images), len(images))
    log.note(reach, time.monotonic() - started)
    if validate is not None:
        log.validations.append((1, round(validate(detector), 5)))
    return detector.cpu(), log


def _whole(image: Image, device: torch.device) -> Whole:
    rows, columns = (slice(MARGIN, MARGIN + side) for side in image.shape[:2])
    return Whole(whole_as_seen(image, device), rows, columns)
