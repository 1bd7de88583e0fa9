"""The paces of a training: twenty times, the crops that follow are adapted to what the network finds and misses."""

from collections.abc import Callable, Iterator

from models.trainable import TrainingBatch
from models.training.crop_loader import CropLoader
from models.training.crops import Course
from models.training.curriculum import PACES, advanced
from models.training.hard_negatives import Spot
from models.training.training_log import TrainingLog

REMEMBERED = 4
"""Rounds of hard negatives that are shown."""
Mine = Callable[[int, int], list[Spot] | None]
"""Finds hard negatives at a step, given the steps of a pace; None in a pace without a search."""


def course_of(log: TrainingLog, batch_size: int) -> Course:
    """How crops are drawn from where training stands."""
    begun, done, total = log.plan
    spots = tuple((n, y, x) for spots in log.spots for n, y, x in spots)
    return Course(total * batch_size, log.competence, spots, begun * batch_size, done)


def pace_of(log: TrainingLog) -> int:
    """Steps of a pace, by the plan that holds."""
    begun, done, total = log.plan
    return max((total - begun) // max(round(PACES * (1.0 - done)), 1), 1)


def paced_batches(
    crops: CropLoader,
    batch_size: int,
    log: TrainingLog,
    by_competence: bool,
    mine: Mine | None,
    replan: Callable[[], None],
) -> Iterator[TrainingBatch]:
    """The batches from ``log.steps`` on, in twenty paces. Before each of them but the first two, ``mine``, where it is given, may
    find hard negatives; ``by_competence``, the dice since the last pace may raise the competence. The crops that follow are drawn
    accordingly. ``replan`` is called between paces and may plan the steps that are left anew."""
    while log.steps < log.total:
        pace = pace_of(log)
        if log.steps and (log.steps - log.plan[0]) % pace == 0:
            if by_competence:
                dice = sum(log.recent_dice) / len(log.recent_dice) if log.recent_dice else None
                log.competences.append((log.steps, round(advanced(log.competence, dice), 4)))
                log.recent_dice = []
            if mine is not None and log.steps >= 2 * pace and (spots := mine(log.steps, pace)) is not None:
                log.spots = [*log.spots, spots][-REMEMBERED:]
            replan()
            pace = pace_of(log)
        begun, _, total = log.plan
        end = min(log.steps - (log.steps - begun) % pace + pace, total)
        yield from crops.batches(log.steps, end, course_of(log, batch_size))
