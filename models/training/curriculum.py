"""Curriculum (Bengio 2009): easy pseudo-defects first, hard ones later."""

from typing import Literal, get_args

Schedule = Literal["none", "linear", "root", "competence"]
SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)

EASIEST = 0.2
"""Share of the range of difficulty that is open from the start."""
PACES = 20
"""How often in a training the competence is updated."""
ADVANCE_FROM, STRIDE = 0.5, 0.1
"""Dice from which the competence advances, and by how much."""


def difficulty_range(schedule: Schedule, progress: float, competence: float = 0.0) -> tuple[float, float]:
    """Range of difficulty (low, high) to draw from at ``progress`` in 0..1 of training, or at ``competence`` in 0..1.

    ``linear`` and ``root`` (square root, Platanios 2019) open the range from the easy end and reach all of it at 60 % of
    training; ``competence`` opens it as the network finds what is open (see ``advanced``). Easy ones stay in the mix, so that
    nothing is forgotten.
    """
    if schedule == "none":
        return 0.0, 1.0
    paced = competence if schedule == "competence" else min(progress / 0.6, 1.0)
    opened = EASIEST + (1.0 - EASIEST) * (paced**0.5 if schedule == "root" else paced)
    return 0.0, opened


def advanced(competence: float, dice: float | None) -> float:
    """Competence after a twentieth of training in which ``dice`` (mean dice on the drawn defects, 0..1) was reached: a tenth
    more if that is one half or better, never more than 1. A family that measures no dice advances every time."""
    return min(competence + STRIDE, 1.0) if dice is None or dice >= ADVANCE_FROM else competence
