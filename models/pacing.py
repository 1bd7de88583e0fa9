"""The paces of a training: twenty times the crops that follow are adapted to what the network can and cannot do."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from models.crops import CropSeries, batches
from models.curriculum import PACES, advanced
from models.detector import TrainingBatch
from models.hard_negatives import Spot
from models.training_log import TrainingLog

REMEMBERED = 4
"""Rounds of hard negatives that are shown."""
Mine = Callable[[np.random.Generator], list[Spot]]


def state_of(log: TrainingLog | None) -> dict[str, Any]:
    """What a crop plan takes from the course of training."""
    if log is None:
        return {}
    return {"competence": log.competence, "spots": tuple((n, y, x) for spots in log.spots for n, y, x in spots)}


def paced_batches(
    series: Callable[[], CropSeries], batch_size: int, log: TrainingLog, workers: int, by_competence: bool, mine: Mine | None
) -> Iterator[TrainingBatch]:
    """The batches from ``log.steps`` on, in twenty paces. Before each of them but the first two, hard negatives are looked for
    (by ``mine``, where it is given) and, ``by_competence``, what was mastered; the crops that follow are drawn accordingly."""
    total = log.steps_planned
    pace = max(total // PACES, 1)
    while log.steps < total:
        if log.steps and log.steps % pace == 0:
            if by_competence:
                mastery = sum(log.mastered) / len(log.mastered) if log.mastered else None
                log.competences.append((log.steps, round(advanced(log.competence, mastery), 4)))
                log.mastered = []
            if mine is not None and log.steps >= 2 * pace:
                log.spots = [*log.spots, mine(np.random.default_rng([log.steps, 7]))][-REMEMBERED:]
        end = min(log.steps - log.steps % pace + pace, total)
        yield from batches(series(), batch_size, log.steps, end, workers)
