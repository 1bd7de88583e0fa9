"""A recipe: the parameters from which, with a seed and an index, a pseudo-defect is drawn."""

import hashlib
import json
from typing import Any, Self

from pydantic import Field, model_validator

from data.section import Section

TRAINING_FAMILIES = (
    "bezier",
    "hull",
    "stroke",
    "crack",
    "patch",
    "perlin",
    "region",
    "warp",
    "structure",
    "chip",
    "library",
)
"""Families that detectors learn from, in the order of the picture sheet."""

EXAM_FAMILIES = ("relief", "dent", "erase", "specks", "stain", "notch", "hairline")
"""Families that no detector ever trains on: tuning and gates are measured on them. They share no code with the above."""


PATTERN_FAMILIES = ("patch", "warp", "structure", "erase")
"""Families that lay other content of the batch where it does not belong. On a random texture that is just another sample of the
texture, which nobody could find, so they are drawn on patterned batches only."""

LINES = ("stroke", "crack", "hairline")
"""Families that are seen by their length: what is too faint at each of their pixels is labelled where the whole can be seen."""

RIM_FAMILIES = ("chip", "notch")
"""Families that live where the part ends, and nowhere else."""


class Recipe(Section):
    """How pseudo-defects are drawn. Lengths are fractions of the crop's side, strengths are in units of the batch's own variation
    (see ``data.defects.scale``), so that one recipe serves every product."""

    families: tuple[str, ...] = TRAINING_FAMILIES
    """Families of pseudo-defects to learn from."""
    clean_fraction: float = Field(0.4, ge=0.05, le=0.9)
    """Share of training crops that carry no defect, only harmless nuisances."""
    several_fraction: float = Field(0.3, ge=0.0, le=1.0)
    """Share of defective crops that carry two or three defects."""
    size_easy: float = Field(0.45, gt=0.0, le=1.0)
    """Diameter at difficulty 0, as a fraction of the crop's side."""
    size_hard: float = Field(0.06, gt=0.0, le=1.0)
    """Diameter at difficulty 1."""
    strength_easy: float = Field(14.0, gt=0.0)
    """Change at difficulty 0, in units of the good images' local variation."""
    strength_hard: float = Field(3.5, gt=0.0)
    """Change at difficulty 1."""
    nuisance: float = Field(1.0, ge=0.0, le=3.0)
    """Strength of harmless variation (light, sub-pixel shift, noise, blur), as a multiple of the built-in amounts."""
    per_family: int = Field(12, ge=2, le=500)
    """Frozen exam defects a family draws for each subset (tune, test)."""

    @model_validator(mode="before")
    @classmethod
    def _without_binary_labels(cls, values: Any) -> Any:
        """0.1 had a setting ``saturating``. Its default is what is drawn today; the other value was for comparisons."""
        if not isinstance(values, dict) or "saturating" not in values:
            return values
        if values["saturating"] not in (True, None):
            raise ValueError("saturating: labels follow the visible change, others are no longer drawn: leave it out")
        return {key: value for key, value in values.items() if key != "saturating"}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        unknown = [family for family in self.families if family not in TRAINING_FAMILIES]
        if unknown or not self.families:
            raise ValueError(
                f"recipe.families {list(unknown or self.families)} must name at least one of "
                f"{', '.join(TRAINING_FAMILIES)} and nothing else"
            )
        if self.size_hard > self.size_easy or self.strength_hard > self.strength_easy:
            raise ValueError(
                f"recipe: difficulty must grow as size ({self.size_easy} to {self.size_hard}) and strength "
                f"({self.strength_easy} to {self.strength_hard}) fall; swap the two ends"
            )
        return self

    def digest(self) -> str:
        """SHA-256 of the recipe's canonical JSON, with the setting that 0.1 had: the same recipe keeps its digest."""
        fields = {**self.model_dump(mode="json"), "saturating": True}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()

    def size(self, difficulty: float) -> float:
        """Diameter at ``difficulty`` in 0..1, as a fraction of the crop's side; geometric between the two ends."""
        return float(self.size_easy * (self.size_hard / self.size_easy) ** difficulty)

    def strength(self, difficulty: float) -> float:
        """Change at ``difficulty`` in 0..1, in units of local variation; geometric between the two ends."""
        return float(self.strength_easy * (self.strength_hard / self.strength_easy) ** difficulty)
