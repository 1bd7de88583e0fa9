"""Distillation: a small, fast network learns what a big teacher says of good images, and becomes a teacher itself."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.teachers.feature_extractor import COLOURS, FeatureExtractor
from models.teachers.feature_network import feature_network
from models.teachers.patch_network import GRID, PatchNetwork
from models.teachers.teacher_file import LEVELS, TeacherFile
from models.trainable import Trainable, TrainingBatch


def _on_grid_of(given: Tensor, wanted: Tensor) -> Tensor:
    """``wanted`` features at the places of ``given`` ones: a vision transformer has one grid for all its levels."""
    size = given.shape[-2:]
    return wanted if wanted.shape[-2:] == size else F.interpolate(wanted, size=size, mode="bilinear", align_corners=False)


class Distillation(Trainable):
    """``network``, of ``backbone``, regresses the parent's standardised features at strides 4, 8 and 16, each level through a
    1×1 convolution of its own (as of EfficientAD: Batzner 2024, arXiv 2303.14535, sec. 3.1). It gives no anomaly map.

    A parent of many channels is thus followed as far as a linear map of few channels can.
    """

    learns_from_good_only = True

    def __init__(self, channels: int = COLOURS, parent: str = "resnet18", backbone: str = "resnet10t") -> None:
        super().__init__()
        self.parent = FeatureExtractor("distil", parent, LEVELS, 0)
        self.network = feature_network("distil", backbone, channels, LEVELS)
        own = self.network.feature_info.channels()
        self.heads = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(own, self.parent.widths, strict=True))

    def load_parent(self, parent: TeacherFile) -> None:
        """The parent's weights."""
        self.parent.load(parent.weights)

    def prepare(self, good: Tensor) -> None:
        """Standardise the parent on good crops (N, C, H, W)."""
        self.parent.standardise(good)

    def training_loss(self, batch: TrainingBatch, progress: float) -> Tensor:
        """Mean over levels of the mean squared difference of features."""
        given = [head(features).float() for head, features in zip(self.heads, self.network(batch.images), strict=True)]
        wanted = [_on_grid_of(g, w) for g, w in zip(given, self.parent(batch.images), strict=True)]
        return torch.stack([F.mse_loss(g, w) for g, w in zip(given, wanted, strict=True)]).mean()

    def weights(self) -> dict[str, Tensor]:
        """Of the small network."""
        return dict(self.network.state_dict())


class PatchDistillation(Trainable):
    """Patch networks of ``sides`` (17, 33 or 65 px) learn the parent's features about the patch's centre, of level 1, 2 and 3 in
    this order, through a linear decoder, and to be uncorrelated (Bergmann 2020, eqs. 1 and 2: knowledge distillation and
    descriptor compactness; its metric learning, for want of a pretrained network, is left out). It gives no anomaly map.

    The paper's parent sees each patch cut out and enlarged; ours sees the whole crop once, and the level whose patches are of
    about the side is taken at every fourth pixel.
    """

    learns_from_good_only = True

    def __init__(
        self,
        channels: int = COLOURS,
        parent: str = "resnet10t",
        sides: Sequence[int] = (17, 33, 65),
        width: int = 16,
        outputs: int = 32,
    ) -> None:
        super().__init__()
        self.parent = FeatureExtractor("distil", parent, LEVELS[: len(sides)], 0)
        self.networks = nn.ModuleList(PatchNetwork(side, channels, width, outputs) for side in sides)
        self.decoders = nn.ModuleList(nn.Conv2d(outputs, wide, 1) for wide in self.parent.widths)

    def load_parent(self, parent: TeacherFile) -> None:
        """The parent's weights."""
        self.parent.load(parent.weights)

    def prepare(self, good: Tensor) -> None:
        """Standardise the parent on good crops (N, C, H, W)."""
        self.parent.standardise(good)

    def training_loss(self, batch: TrainingBatch, progress: float) -> Tensor:
        """Sum over sides of the squared difference from the parent and of the mean squared correlation between descriptors'
        dimensions."""
        images = batch.images
        losses = []
        size = (images.shape[-2] // GRID, images.shape[-1] // GRID)
        for network, decoder, wanted in zip(self.networks, self.decoders, self.parent(images), strict=True):
            described = network(images).float()  # (N, outputs, H / 4, W / 4)
            target = F.interpolate(wanted, size=size, mode="bilinear", align_corners=False)
            losses.append(F.mse_loss(decoder(described).float(), target) + correlation(described))
        return torch.stack(losses).sum()

    def weights(self) -> dict[str, Tensor]:
        """Of all patch networks, as ``models.teachers.patch_network.of_side`` reads them."""
        found: dict[str, Tensor] = {}
        network: Any
        for network in self.networks:
            found |= {f"{network.side}.{key}": value for key, value in network.state_dict().items()}
        return found


def correlation(described: Tensor) -> Tensor:
    """Mean squared correlation between different dimensions of descriptors (N, d, h, w) (Bergmann 2020, eq. 2)."""
    flat = described.transpose(0, 1).flatten(1)  # (d, N · h · w)
    normed = F.normalize(flat - flat.mean(1, keepdim=True), dim=1)
    found = normed @ normed.T
    d = len(found)
    return (found.square().sum() - found.diagonal().square().sum()) / (d * (d - 1))
