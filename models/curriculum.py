"""Curriculum (Bengio 2009): easy pseudo-defects first, hard ones later."""

from typing import Literal

Schedule = Literal["none", "linear", "root", "reversed"]
SCHEDULES: tuple[Schedule, ...] = ("none", "linear", "root", "reversed")


def difficulty_range(schedule: Schedule, progress: float) -> tuple[float, float]:
    """Range of difficulty (low, high) to draw from at ``progress`` in 0..1 of training.

    ``linear`` and ``root`` (competence ``sqrt``, Platanios 2019) open the range from the easy end and reach all of it at 60 % of
    training; easy ones stay in the mix, so nothing is forgotten. ``reversed`` opens it from the hard end (for comparison).
    """
    if schedule == "none":
        return 0.0, 1.0
    paced = min(progress / 0.6, 1.0)
    opened = 0.2 + 0.8 * (paced**0.5 if schedule == "root" else paced)
    return (1.0 - opened, 1.0) if schedule == "reversed" else (0.0, opened)
