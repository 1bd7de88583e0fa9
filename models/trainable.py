"""What the trainer can train: detectors, and networks that only learn features and become teachers."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class TrainingBatch:
    """One step's crops.

    ``images``: (N, C, H, W) float, normalised by ``models.inspection.preprocess``. ``labels``: (N, 1, H, W) float in 0..1, the
    visible change. ``defective``: (N,) float, 1 where the label is not all zero. ``clean``: the crops before defects were drawn
    on them, (N, C, H, W), for networks that ask for them."""

    images: Tensor
    labels: Tensor
    defective: Tensor
    clean: Tensor | None = None

    def to(self, device: torch.device) -> "TrainingBatch":
        """The same on ``device``."""
        parts = (self.images, self.labels, self.defective, self.clean)
        return TrainingBatch(*(part if part is None else part.to(device, non_blocking=True) for part in parts))  # type: ignore[arg-type]


class Trainable(nn.Module):
    """Base of everything that ``models.training.fit`` trains.

    ``learns_from_good_only``: the trainer draws no pseudo-defects for it. ``learns_from_clean``: the trainer gives it each crop
    as it was before defects were drawn, too."""

    learns_from_good_only = False
    learns_from_clean = False
    training_dice: float | None = None
    """Dice (0..1) on the last training batch's defects; None in networks that see no defects."""

    @property
    def device(self) -> torch.device:
        """Where its parameters and buffers lie."""
        return next((tensor.device for tensor in chain(self.parameters(), self.buffers())), torch.device("cpu"))

    def taught_parameters(self) -> Iterable[nn.Parameter]:
        """Those that are learned but start from a teacher; by default none."""
        return ()

    def prepare(self, good: Tensor) -> None:
        """Compute what is computed rather than learned, from good crops (N, C, H, W); by default nothing."""

    def training_loss(self, batch: TrainingBatch, progress: float) -> Tensor:
        """Scalar loss of one batch; ``progress`` in 0..1 is how far training is."""
        raise NotImplementedError
