"""Facts of earlier batches of a product, which a new batch is compared with."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, FiniteFloat, PositiveInt, ValidationError

from core.errors import BadBatch

COMPARED = ("brightness", "contrast", "sharpness")
LEAST_SIGMA = {"brightness": 0.02, "contrast": 0.01, "sharpness": math.log(1.3)}
"""A spread below this would make every new batch stand out (sharpness: of the logarithm). Tuned on nothing: changes of that
size are not seen by eye."""


QUANTILES = 25
"""Kept of each fact of an earlier batch: median and spread need no more, and a batch has thousands of images."""


class EarlierBatch(BaseModel):
    """Facts of one earlier batch in the units of ``data.validation.facts``: evenly spaced quantiles, each of as many of its
    ``images``.

    Files of before quantiles were kept have one value an image, and no number of images.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")
    images: PositiveInt | None = None
    brightness: tuple[FiniteFloat, ...]
    contrast: tuple[FiniteFloat, ...]
    sharpness: tuple[FiniteFloat, ...]

    @classmethod
    def of_facts(cls, facts: Sequence[Mapping[str, Any]]) -> "EarlierBatch":
        """From the ``facts`` of a ``validation.json``. KeyError, TypeError or ValueError where they are none."""
        kept = {column: _quantiles([float(fact[column]) for fact in facts]) for column in COMPARED}
        return cls(images=len(facts), **kept)

    def weights(self, column: str) -> list[float]:
        """How many images each value of ``column`` stands for."""
        count = len(getattr(self, column))
        return [1.0 if self.images is None else self.images / max(count, 1)] * count


def _quantiles(values: Sequence[float]) -> tuple[float, ...]:
    """At most ``QUANTILES`` values, each the middle of an equal share of ``values``, to six digits."""
    count = min(len(values), QUANTILES)
    if count == 0:
        return ()
    middles = (np.arange(count) + 0.5) / count
    return tuple(float(f"{value:.6g}") for value in np.quantile(values, middles, method="hazen"))


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
        batches = self.batches.values()
        values = np.asarray([value for batch in batches for value in getattr(batch, column)], dtype=float)
        weights = np.asarray([weight for batch in batches for weight in batch.weights(column)])
        if column == "sharpness":
            values = np.log(np.maximum(values, 1e-12))
        middle = _median(values, weights)
        sigma = max(1.4826 * _median(np.abs(values - middle), weights), LEAST_SIGMA[column])
        low, high = middle - sigmas * sigma, middle + sigmas * sigma
        return (math.exp(low), math.exp(high)) if column == "sharpness" else (low, high)


def _median(values: np.ndarray, weights: np.ndarray) -> float:
    """The median of ``values`` that count ``weights`` times; with equal weights the usual one."""
    order = np.argsort(values, kind="stable")
    centres = np.cumsum(weights[order]) - weights[order] / 2
    return float(np.interp(weights.sum() / 2, centres, values[order]))


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
