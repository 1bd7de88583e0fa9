"""Teachers: frozen feature networks whose channels are standardised on good images."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import BadSettings
from models.teachers.feature_network import feature_network, matched

COLOURS = 3


class FeatureExtractor(nn.Module):
    """``backbone`` as ``seed`` initialises it (random features), unless weights are loaded into it; it is part of the saved
    state, so nothing is ever downloaded. It always sees three channels, as the weights of others do: grey is shown three times.

    Features after a ReLU share a large constant part, and those of an untrained network are nearly all constant: untouched,
    a student agrees with them to within 2 % before anything was learned. So ``standardise`` comes first.

    ``spread``: standard deviation of the images that weights from elsewhere were trained on, in the network's own units
    (``models.teachers.teacher_file``). Images, which come with a spread of 1, are brought to it, and the network's batch
    statistics stay as they are: measured anew on a few crops, PatchCore lost a tenth of image AUROC on magnetic tiles. None:
    random weights, or weights that were trained on a plant's own images as they come; their statistics are measured on good
    images.

    ``widths``: channels of each level; ``strides``: of each level, in px.
    """

    network: Any

    def __init__(self, owner: str, backbone: str, levels: tuple[int, ...], seed: int, spread: float | None = None) -> None:
        super().__init__()
        if spread is not None and not 0.05 <= spread <= 5.0:
            raise BadSettings(f"{owner}.spread {spread} is outside 0.05..5; images have 0.4 where pixels are brought to -1..1")
        self.spread = spread
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = feature_network(owner, backbone, COLOURS, levels)
        self.widths: list[int] = self.network.feature_info.channels()
        self.strides: list[int] = self.network.feature_info.reduction()
        self.standards: Any = nn.ModuleList(nn.BatchNorm2d(width, affine=False, eps=1e-6) for width in self.widths)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "FeatureExtractor":
        """A teacher stays in evaluation mode, whatever its students do."""
        return super().train(False)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take ``weights`` (``models.teachers.teacher_file``) instead of random ones, before anything is standardised. BadModel
        where they are of another network."""
        self.network.load_state_dict(matched(self.network, weights, "the teacher"))

    @torch.no_grad()
    def standardise(self, good: Tensor) -> None:
        """Measure on good images (N, C, H, W) the network's batch statistics, unless they stay, then the spread of its
        features."""
        for part in (self.network, self.standards) if self.spread is None else (self.standards,):
            for norm in part.modules():
                if isinstance(norm, nn.BatchNorm2d):
                    norm.train()
                    norm.momentum = None  # a plain average over what is seen
                    norm.reset_running_stats()
            for chunk in good.split(16):
                self(chunk)
            part.eval()

    @torch.no_grad()
    def standardise_again(self, mean: Tensor, spread: Tensor) -> None:
        """Standardise features of all levels (c in all) that have had ``mean`` and ``spread`` until now."""
        levels = zip(self.standards, mean.split(self.widths), spread.split(self.widths), strict=True)
        for standard, middle, wide in levels:
            state = standard.state_dict()  # of the tensors themselves
            variance = state["running_var"] + standard.eps
            state["running_mean"].add_(middle * variance.sqrt())
            state["running_var"].copy_(variance * wide.square() - standard.eps)

    @torch.no_grad()
    def forward(self, images: Tensor) -> list[Tensor]:
        """Standardised float32 features of each level, (N, c, h, w), of images of one or three channels."""
        seen = images if images.shape[1] == COLOURS else images.expand(-1, COLOURS, -1, -1)
        seen = seen if self.spread is None else seen * self.spread
        return [standard(features.float()) for standard, features in zip(self.standards, self.network(seen), strict=True)]
