"""One inspected image as the report shows it."""

from dataclasses import dataclass
from math import isfinite
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.errors import BadModel
from models.report.overlay import Map, Pixels


@dataclass(frozen=True, eq=False)
class Example:
    """One inspected image with the inspector's answer.

    ``image``: uint8 (H, W, C), C = 1 or 3, RGB. ``map``: float32 (H, W) in score units. ``label``: uint8 (H, W), 0..255, where a
    pseudo-defect was drawn; None for good images. ``verdict``: true = rejected. ``difficulty``: 0 (easy) to 1 (hard).
    ``judged``: false where the inspector could not judge it, and therefore rejected it.
    ``outside``: bool (H, W), what is not inspected; None where all of the image is.
    """

    image: Pixels
    map: Map
    label: Pixels | None
    score: float
    verdict: bool
    name: str
    family: str | None
    difficulty: float | None
    kind: Literal["good", "defect"]
    judged: bool = True
    outside: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[2] not in (1, 3) or self.image.dtype != np.uint8:
            raise BadModel(f"image {self.name!r} is {self.image.dtype} {self.image.shape}; the report takes uint8 (H, W, 1 or 3)")
        if self.map.shape != self.image.shape[:2]:
            raise BadModel(
                f"map of {self.name!r} is {self.map.shape}, its image {self.image.shape[:2]}; they must be of one size"
            )
        if self.label is not None and self.label.shape != self.image.shape[:2]:
            raise BadModel(
                f"label of {self.name!r} is {self.label.shape}, its image {self.image.shape[:2]}; they must be of one size"
            )
        if not (np.isfinite(self.map).all() and isfinite(self.score)):
            raise BadModel(
                f"map or score of {self.name!r} holds NaN or infinity; such a model must not be reported, train it again"
            )

    @property
    def outcome(self) -> str:
        """What the verdict means for this image, in the project's words."""
        if not self.judged:
            return "not judged: overkill" if self.kind == "good" else "not judged"
        if self.kind == "good":
            return "rejected: overkill" if self.verdict else "passed"
        return "rejected" if self.verdict else "passed: escape"

    @property
    def wrong(self) -> bool:
        """True where a good image was rejected or a defect passed."""
        return self.verdict == (self.kind == "good")


def worst_false_alarms(examples: list[Example], limit: int) -> list[Example]:
    """Good images that were rejected for their score, highest first, at most ``limit``."""
    return sorted((e for e in examples if e.kind == "good" and e.verdict and e.judged), key=lambda e: (-e.score, e.name))[:limit]


def worst_escapes(examples: list[Example], limit: int) -> list[Example]:
    """Pseudo-defects that passed, lowest score first (what the model saw least of), at most ``limit``."""
    return sorted((e for e in examples if e.kind == "defect" and not e.verdict), key=lambda e: (e.score, e.name))[:limit]


def not_judged(examples: list[Example], limit: int) -> list[Example]:
    """Images that were not judged, good ones first, by name, at most ``limit``."""
    return sorted((e for e in examples if not e.judged), key=lambda e: (e.kind != "good", e.name))[:limit]


def closest_calls(examples: list[Example], kind: str, limit: int) -> list[Example]:
    """Right verdicts of one kind that came closest to being wrong, closest first."""
    sign = -1 if kind == "good" else 1
    right = (e for e in examples if e.kind == kind and not e.wrong and e.judged)
    return sorted(right, key=lambda e: (sign * e.score, e.name))[:limit]


def spread(examples: list[Example], limit: int) -> list[Example]:
    """At most ``limit`` of ``examples``, evenly taken, order kept."""
    if len(examples) <= limit:
        return list(examples)
    return [examples[i] for i in np.linspace(0, len(examples) - 1, limit).round().astype(int)]


def by_family(examples: list[Example]) -> dict[str, list[Example]]:
    """Pseudo-defects by family (sorted by name), each from easy to hard."""
    families: dict[str, list[Example]] = {}
    for example in sorted(
        (e for e in examples if e.kind == "defect"), key=lambda e: (e.family or "", e.difficulty or 0.0, e.name)
    ):
        families.setdefault(example.family or "unnamed", []).append(example)
    return families
