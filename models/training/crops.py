"""The endless series of training crops, drawn on the fly from good images: crop ``i`` is the same whoever draws it."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from data.defects.draw import draw_crop
from data.defects.library import Cutout
from data.defects.recipe import Recipe
from data.defects.scale import BatchScale
from models.inspection.preprocess import statistics
from models.training.curriculum import Schedule, difficulty_range
from models.training.hard_negatives import Spot
from models.training.one_copy import OneCopy
from models.training.training_log import progress_along

Image = NDArray[np.uint8]
Part = NDArray[np.bool_]


@dataclass(frozen=True)
class CropPlan:
    """What to draw: ``total`` crops of ``side`` px. The curriculum's progress at crop ``i`` is ``i / total``, or, where training
    was planned anew at crop ``begun`` after a share ``done`` of its course, even from there to the end.
    ``competence``: of the network that they are drawn for, where it sets the pace. ``spots``: hard negatives.
    ``library``: the plant's own cut-outs. ``with_clean``: each crop comes with what it was before defects were drawn on it.
    ``products``: where the images are of several, how many are of each, in their order, and its scale instead of ``scale``;
    crops take turns."""

    recipe: Recipe
    scale: BatchScale
    side: int
    total: int
    schedule: Schedule
    seed: int
    flips: bool = True
    with_defects: bool = True
    competence: float = 0.0
    spots: tuple[Spot, ...] = ()
    library: tuple[Cutout, ...] = ()
    with_clean: bool = False
    products: tuple[tuple[int, BatchScale], ...] = ()
    begun: int = 0
    done: float = 0.0

    def progress(self, index: int) -> float:
        """Of the curriculum at crop ``index``, 0..1."""
        return progress_along((self.begun, self.done, self.total), index)


@dataclass(frozen=True)
class Course:
    """What of a plan changes in the course of training; each is as in ``CropPlan``."""

    total: int
    competence: float = 0.0
    spots: tuple[Spot, ...] = ()
    begun: int = 0
    done: float = 0.0


@dataclass(frozen=True)
class _Product:
    """Images that crops of one product are drawn from; ``first``: the number of the first."""

    first: int
    images: list[Image]
    parts: list[Part] | None
    scale: BatchScale


class CropSeries(Dataset[tuple[Tensor, ...]]):
    """Crop ``i`` as (image (C, S, S) normalised float, label (1, S, S) float), and the clean image where the plan asks for it.
    ``series[i]`` is drawn by the plan, ``series[i, course]`` by the plan with what a ``Course`` changes."""

    def __init__(
        self, images: list[Image], plan: CropPlan, parts: list[Part] | None = None, partners: list[Image] | None = None
    ) -> None:
        """``parts``: the images' foreground masks, so that chips follow a part's rim; None takes the images' own. ``partners``:
        of each image its template (of one product alone), which then is what comes as the clean crop."""
        self._images, self._parts, self._partners = OneCopy(images), OneCopy(parts or []), OneCopy(partners or [])
        self._plan = plan
        self._products = self._divided()
        self._statistics = [statistics(image) for image in images]
        self._recipe = plan.recipe if plan.with_defects else plan.recipe.model_copy(update={"clean_fraction": 1.0})

    def _divided(self) -> list[_Product]:
        images, parts, products, first = self._images.arrays, self._parts.arrays, [], 0
        for count, scale in self._plan.products or ((len(images), self._plan.scale),):
            until = first + count
            products.append(_Product(first, images[first:until], parts[first:until] if parts else None, scale))
            first = until
        return products

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_products": None}  # they point to images, which are to be given on once

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._products = self._divided()

    def __len__(self) -> int:
        return self._plan.total

    def __getitem__(self, wanted: int | tuple[int, Course | None]) -> tuple[Tensor, ...]:
        index, course = (wanted, None) if isinstance(wanted, int) else wanted
        plan = self._plan if course is None else replace(self._plan, **vars(course))
        window = difficulty_range(plan.schedule, plan.progress(index), plan.competence)
        product = self._products[index % len(self._products)]
        drawn = draw_crop(
            self._recipe, product.scale, product.images, plan.side, plan.seed, index, window, plan.flips, product.parts,
            plan.spots, plan.library, plan.with_clean, self._partners.arrays or None,
        )  # fmt: skip
        source = product.first + drawn.source
        image, label = self._normalised(drawn.image, source), torch.from_numpy(drawn.label[None])
        return (image, label) if drawn.clean is None else (image, label, self._normalised(drawn.clean, source))

    def _normalised(self, image: Image, source: int) -> Tensor:
        mean, spread = self._statistics[source]
        return torch.from_numpy(np.ascontiguousarray(((image.astype(np.float32) / 255.0 - mean) / spread).transpose(2, 0, 1)))
