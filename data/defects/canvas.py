"""Where a pseudo-defect is drawn, and in which units."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from data.defects.library import Cutout
from data.defects.recipe import Recipe
from data.defects.scale import BatchScale

Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class Canvas:
    """Where a defect is drawn.

    ``background`` and ``donor``: (H, W, C) float32, 0..255, the donor from a different good image where there is one.
    ``side``: length in px that the recipe's sizes are fractions of. ``centre``: (x, y) of the defect. ``trade``: what of the
    difficulty is moved from size to strength (-0.5..0.5): a hard defect may be long and faint, or tiny and strong.
    ``part``: mask (H, W) of the part; None where all of the canvas is part. ``library``: the plant's own cut-outs.
    """

    background: Pixels
    donor: Pixels
    recipe: Recipe
    scale: BatchScale
    side: float
    centre: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))
    trade: float = 0.0
    part: NDArray[np.bool_] | None = None
    library: Sequence[Cutout] = ()

    @property
    def height(self) -> int:
        """Rows of the canvas."""
        return int(self.background.shape[0])

    @property
    def width(self) -> int:
        """Columns of the canvas."""
        return int(self.background.shape[1])

    def diameter(self, rng: np.random.Generator, difficulty: float) -> float:
        """Size in px at ``difficulty``, give or take a third, never below 3 px or two grains."""
        difficulty = float(np.clip(difficulty - self.trade, 0.0, 1.0))
        return max(self.recipe.size(difficulty) * self.side * float(rng.uniform(0.67, 1.5)), 3.0, 2.0 * self.scale.grain)

    def largest(self, difficulty: float) -> float:
        """The largest size in px that ``diameter`` gives at ``difficulty``."""
        difficulty = float(np.clip(difficulty - self.trade, 0.0, 1.0))
        return max(1.5 * self.recipe.size(difficulty) * self.side, 3.0, 2.0 * self.scale.grain)

    def amount(self, rng: np.random.Generator, difficulty: float) -> float:
        """Change in grey levels at ``difficulty``, give or take a third."""
        difficulty = float(np.clip(difficulty + self.trade, 0.0, 1.0))
        return self.recipe.strength(difficulty) * self.scale.variation * float(rng.uniform(0.67, 1.5))
