"""What happened in a training: it is kept in checkpoints, and in ``training.json`` for the report and for rebuilds."""

from dataclasses import dataclass, field

from models.hard_negatives import Spot


@dataclass
class TrainingLog:
    """What happened.

    ``losses``: (step, seconds, smoothed loss). ``spots``: hard negatives of the last times that they were looked for.
    ``mastered``: dice of the steps since the competence was last looked at; ``competences``: (step, competence from there on).
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
    spots: list[list[Spot]] = field(default_factory=list)
    mastered: list[float] = field(default_factory=list)
    competences: list[tuple[int, float]] = field(default_factory=list)

    @property
    def competence(self) -> float:
        """Where a competence-paced curriculum stands, 0..1."""
        return self.competences[-1][1] if self.competences else 0.0

    def note(self, loss: float, seconds: float, mastery: float | None = None) -> None:
        """Count one more step with its ``loss``, ``seconds`` after the start; about a hundred of them are kept for the curve."""
        if mastery is not None:
            self.mastered.append(round(mastery, 4))
        self.smoothed = loss if self.steps == 0 else 0.95 * self.smoothed + 0.05 * loss
        self.steps += 1
        self.seconds = seconds
        if self.steps % max(self.steps_planned // 100, 1) == 0 or self.steps == self.steps_planned:
            self.losses.append((self.steps, round(seconds, 2), round(self.smoothed, 5)))
