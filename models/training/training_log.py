"""What happened in a training: it is kept in checkpoints, and in ``training.json`` for the report and for rebuilds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # who only reads a log, as a certificate does, need not load torch
    from models.training.hard_negatives import Spot
    from models.training.number_format import Format

Change = tuple[int, float, int]
"""Training was planned anew: the step, the progress there in 0..1, and how many steps it has in all from then on."""


@dataclass
class TrainingLog:
    """What happened.

    ``losses``: (step, seconds, smoothed loss). ``spots``: hard negatives of the last times that they were looked for.
    ``recent_dice``: of the steps since the competence was last updated; ``competences``: (step, competence from there on).
    ``steps_planned``: at first; ``changes``: where that was planned anew. ``marks``: (step, seconds) where the last paces began;
    ``reserve``: seconds kept for the last validation.
    ``templates``: how many a network compares with, and ``matched``: how many training images one was laid on.
    ``form``: the number format of the steps; logs of before it was chosen are of bfloat16.
    ``ended_by``: steps, time, early stop, or stop (a rebuild ends where its record ended).
    """

    steps_planned: int = 0
    validations_planned: int = 0
    steps: int = 0
    seconds: float = 0.0
    ended_by: str = "steps"
    resumed_at: int | None = None
    device: str = "cpu"
    threads: int = 1
    waiting_share: float = 0.0
    losses: list[tuple[int, float, float]] = field(default_factory=list)
    validations: list[tuple[int, float]] = field(default_factory=list)
    smoothed: float = 0.0
    spots: list[list["Spot"]] = field(default_factory=list)
    recent_dice: list[float] = field(default_factory=list)
    competences: list[tuple[int, float]] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    marks: list[tuple[int, float]] = field(default_factory=list)
    reserve: float = 0.0
    templates: int = 0
    matched: int = 0
    form: "Format" = "bfloat16"

    @property
    def plan(self) -> Change:
        """That holds now."""
        return self.changes[-1] if self.changes else (0, 0.0, self.steps_planned)

    @property
    def total(self) -> int:
        """Steps planned, as things stand."""
        return self.plan[2]

    @property
    def progress(self) -> float:
        """Where training stands, 0..1: learning rate and curriculum follow it."""
        return progress_along(self.plan, self.steps)

    @property
    def competence(self) -> float:
        """Where a competence-paced curriculum stands, 0..1."""
        return self.competences[-1][1] if self.competences else 0.0

    def note(self, loss: float, seconds: float, dice: float | None = None) -> None:
        """Count one more step with its ``loss``, ``seconds`` after the start; about a hundred of them are kept for the curve."""
        if dice is not None:
            self.recent_dice.append(round(dice, 4))
        self.smoothed = loss if self.steps == 0 else 0.95 * self.smoothed + 0.05 * loss
        self.steps += 1
        self.seconds = seconds
        if self.steps % max(self.total // 100, 1) == 0 or self.steps == self.total:
            self.losses.append((self.steps, round(seconds, 2), round(self.smoothed, 5)))


def progress_along(plan: Change, at: int) -> float:
    """Progress in 0..1 at a step (or a crop, where ``plan`` counts crops): even from where the plan begins to its end."""
    begun, done, total = plan
    return min(done + (1.0 - done) * (at - begun) / max(total - begun, 1), 1.0)


def progress_at(step: int, steps_planned: int, changes: Sequence[Change]) -> float:
    """Progress in 0..1 of a recorded training at ``step``, by the plan that held there."""
    return progress_along([(0, 0.0, steps_planned), *(change for change in changes if change[0] <= step)][-1], step)


def steps_text(steps: int | None, planned: int | None, changes: Sequence[Change]) -> str:
    """For people: how many steps were made of how many planned; None is not on record."""
    if not changes:
        return f"{steps} of {planned} steps"
    _, _, total = changes[-1]
    return f"{steps} of {total} steps ({planned} planned at first)"


def templates_text(templates: int, matched: int, images: int) -> str:
    """For people: what a network compares with."""
    if not templates:
        return f"it compares with no template: {matched} of {images} good training images match another one"
    plural = "" if templates == 1 else "s"
    return f"it compares with {templates} template{plural}, which match {matched} of {images} good training images"
