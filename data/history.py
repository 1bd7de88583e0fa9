"""Facts of earlier batches of a product, which a new batch is compared with."""

import json
import math
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from data.errors import BadBatch

COMPARED = ("brightness", "contrast", "sharpness")
LEAST_SIGMA = {"brightness": 0.02, "contrast": 0.01, "sharpness": math.log(1.3)}
"""A spread below this would make every new batch stand out (sharpness: of the logarithm). Tuned on nothing: changes of that
size are not seen by eye."""


class EarlierBatch(BaseModel):
    """Facts of one earlier batch, one value an image, in the units of ``data.facts``."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    brightness: tuple[FiniteFloat, ...]
    contrast: tuple[FiniteFloat, ...]
    sharpness: tuple[FiniteFloat, ...]


class History(BaseModel):
    """``history.json``: earlier batches of the product by name."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    batches: dict[str, EarlierBatch] = {}

    def compared(self) -> tuple[str, ...]:
        """Facts that earlier batches have values of."""
        return tuple(column for column in COMPARED if any(getattr(batch, column) for batch in self.batches.values()))

    def limits(self, column: str, sigmas: float) -> tuple[float, float]:
        """Lowest and highest median of ``column``, one of ``compared()``, that is like earlier batches.

        Alike is what lies within ``sigmas`` robust standard deviations of all earlier images; so what varies from batch to
        batch is part of the spread.
        """
        values = np.asarray([value for batch in self.batches.values() for value in getattr(batch, column)], dtype=float)
        if column == "sharpness":
            values = np.log(np.maximum(values, 1e-12))
        middle = float(np.median(values))
        sigma = max(1.4826 * float(np.median(np.abs(values - middle))), LEAST_SIGMA[column])
        low, high = middle - sigmas * sigma, middle + sigmas * sigma
        return (math.exp(low), math.exp(high)) if column == "sharpness" else (low, high)


def read_history(path: Path) -> History:
    """Read ``history.json``; no file is no history. BadBatch if it is damaged."""
    try:
        return History.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return History()
    except (ValueError, ValidationError) as error:  # ValueError: JSON or UTF-8
        raise BadBatch(
            f"{path.name} is damaged ({type(error).__name__}); restore it with 'git checkout -- {path.name}'"
        ) from error
