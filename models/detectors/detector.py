"""What every detector is: it learns from good images (and pseudo-defects drawn on them) and gives an anomaly map."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

from models.trainable import Trainable

Kind = Literal["segmentation", "feature_distance"]
"""How a detector finds defects: it has learned to mark drawn ones, or it compares with a teacher's view of good images. The two
fail on different defects, so fusion treats them apart."""


@dataclass(frozen=True)
class Whole:
    """A whole good image (1, C, H, W) as ``forward`` sees it; ``rows`` and ``columns`` are those of the image itself, without its
    margins."""

    seen: Tensor
    rows: slice
    columns: slice


class Detector(Trainable):
    """Base of all families.

    ``family``: its name in weight files and records. ``trainable``: False where nothing is learned step by step; the trainer then
    calls ``prepare`` and ``build_memory_bank``, and that is all.
    """

    family: ClassVar[str]
    trainable = True
    kind: ClassVar[Kind] = "feature_distance"
    teacher_kind: str | None = None
    """Kind of teacher (``models.teachers.teacher_file``) that it can be given; None where it has none."""
    takes_transformers = False
    """Whether that may be a vision transformer, all of whose levels have one stride."""

    @property
    def declines(self) -> bool:
        """Whether it may say of an image that it cannot judge it; the inspector then has an output more."""
        return False

    @classmethod
    def settings_with(cls, settings: Mapping[str, Any], teacher: Mapping[str, Any], spread: float | None) -> dict[str, Any]:
        """``settings`` for a detector that is given a teacher of its ``teacher_kind``, whose card has the settings ``teacher``.
        ``spread``: of the photographs that it was trained on, None where it was trained on a plant's own images."""
        return {**settings, **teacher, **({} if spread is None else {"spread": spread})}

    def load_teacher(self, weights: Mapping[str, Tensor]) -> None:
        """Take a teacher's ``weights`` of ``teacher_kind``, instead of random ones; before ``prepare``. BadModel where they do
        not fit."""
        raise NotImplementedError

    def build_memory_bank(self, good: Iterable[Whole], number: int) -> float:
        """Where ``trainable`` is False: fill the memory bank from ``number`` whole good images. Gives the largest distance (0
        and up) of what was seen from what was kept."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W), height and width multiples of 32, to the anomaly map (N, 1, H, W); larger is more anomalous."""
        raise NotImplementedError

    def map_and_judged(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """What ``forward`` gives, and whether each image could be judged, bool (N,): given where it ``declines`` and only there,
        None where it judges every image. A map that says nothing of an image passes it, so the inspector rejects what is not
        judged."""
        return self(images), None
