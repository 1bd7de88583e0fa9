"""What every detector is: it learns from good images (and pseudo-defects drawn on them) and gives an anomaly map."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from core.errors import BadSettings

Kind = Literal["segmentation", "comparison"]
"""How a detector finds defects: it has learned to mark drawn ones, or it compares with a teacher's view of good images. The two
fail on different defects, so that they are told apart where maps are fused."""


@dataclass(frozen=True)
class TrainingBatch:
    """One step's crops.

    ``images``: (N, C, H, W) float, normalised by ``models.inspection.preprocess``. ``labels``: (N, 1, H, W) float in 0..1, the
    visible change. ``defective``: (N,) float, 1 where the label is not all zero. ``clean``: the crops before defects were drawn
    on them, (N, C, H, W), for detectors that ask for them."""

    images: Tensor
    labels: Tensor
    defective: Tensor
    clean: Tensor | None = None

    def to(self, device: torch.device) -> "TrainingBatch":
        """The same on ``device``."""
        parts = (self.images, self.labels, self.defective, self.clean)
        return TrainingBatch(*(part if part is None else part.to(device, non_blocking=True) for part in parts))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Whole:
    """A whole good image (1, C, H, W) as ``forward`` sees it; ``rows`` and ``columns`` are those of the image itself, without its
    margins."""

    seen: Tensor
    rows: slice
    columns: slice


class Detector(nn.Module):
    """Base of all families. ``learns_from_good_only``: the trainer then draws no pseudo-defects for it. ``learns``: False where
    nothing is learned step by step; the trainer then calls ``prepare`` and ``memorise``, and that is all. ``learns_from_clean``:
    the trainer then gives it each crop as it was before defects were drawn, too."""

    learns_from_good_only = False
    learns_from_clean = False
    learns = True
    kind: ClassVar[Kind] = "comparison"
    teacher_kind: str | None = None
    """Kind of teacher (``models.teachers.teacher_file``) that it can be given; None where it has none."""
    takes_transformers = False
    """Whether that may be a vision transformer, all of whose levels have one stride."""
    mastery: float | None = None
    """Share (0..1) of the last training batch's defects that was found; None in families that see no defects."""

    @classmethod
    def settings_with(cls, settings: Mapping[str, Any], teacher: Mapping[str, Any], spread: float | None) -> dict[str, Any]:
        """``settings`` for a detector that is given a teacher of its ``teacher_kind``, whose card has the settings ``teacher``.
        ``spread``: of the photographs that it was trained on, None where it was trained on a plant's own images."""
        return {**settings, **teacher, **({} if spread is None else {"spread": spread})}

    def load_teacher(self, weights: Mapping[str, Tensor]) -> None:
        """Take a teacher's ``weights`` of ``teacher_kind``, instead of random ones; before ``prepare``. BadModel where they do
        not fit."""
        raise NotImplementedError

    def taught_parameters(self) -> Iterable[nn.Parameter]:
        """Those that are learned but start from a teacher; by default none."""
        return ()

    def prepare(self, good: Tensor) -> None:
        """Compute what is computed rather than learned, from good crops (N, C, H, W); by default nothing."""

    def memorise(self, good: Iterable[Whole], number: int) -> float:
        """Where ``learns`` is False: take in ``number`` whole good images. How far (0 and up) what was seen is from what was
        kept."""
        raise NotImplementedError

    def training_loss(self, batch: TrainingBatch, progress: float) -> Tensor:
        """Scalar loss of one batch; ``progress`` in 0..1 is how far training is."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W), height and width multiples of 32, to the anomaly map (N, 1, H, W); larger is more anomalous."""
        raise NotImplementedError


def families() -> dict[str, type[Detector]]:
    """Every family by its name."""
    from models.detectors.denoising_student import DenoisingStudent
    from models.detectors.patchcore import PatchCore
    from models.detectors.rstpm import Rstpm
    from models.detectors.stpm import Stpm
    from models.detectors.unet import UNet
    from models.detectors.unet3plus import UNet3Plus
    from models.detectors.uninformed_students import UninformedStudents

    return {
        "unet": UNet,
        "unet3plus": UNet3Plus,
        "stpm": Stpm,
        "rstpm": Rstpm,
        "denoising_student": DenoisingStudent,
        "patchcore": PatchCore,
        "uninformed_students": UninformedStudents,
    }


def learners() -> dict[str, type[Detector]]:
    """Every family, and what makes teachers (``models.train_teacher``): trained by the same trainer, but without a map."""
    from models.teachers.distil import Distillation, PatchDistillation
    from models.teachers.self_supervised import SelfSupervised

    made = {"self_supervised": SelfSupervised, "distillation": Distillation, "patch_distillation": PatchDistillation}
    return {**families(), **made}


def build_detector(name: str, channels: int, settings: dict[str, Any]) -> Detector:
    """A fresh detector of family ``name`` for ``channels`` (1 or 3) input channels; BadSettings for an unknown name or
    setting."""
    known = learners()
    if name not in known:
        raise BadSettings(f"detector {name!r} is not one of {', '.join(sorted(families()))}")
    try:
        return known[name](channels=channels, **settings)
    except TypeError as error:
        raise BadSettings(f"detector {name} does not take the settings {settings}: {error}") from error
