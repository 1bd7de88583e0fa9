"""Teachers: frozen feature networks whose channels are standardised on good images."""

from typing import Any

import timm
import torch
from torch import Tensor, nn

from data.errors import BadSettings


def feature_network(owner: str, backbone: str, channels: int, levels: tuple[int, ...]) -> Any:
    """timm's network ``backbone``, from scratch, that gives its features of ``levels``, shallow to deep: (N, c, h, w) each.
    BadSettings, naming ``owner``, for a name that timm does not know and for levels that the network has not."""
    try:
        # timm's feature networks carry no types
        network: Any = timm.create_model(
            backbone, pretrained=False, features_only=True, in_chans=channels, out_indices=tuple(levels)
        )
    except RuntimeError as error:
        raise BadSettings(f"{owner}.backbone {backbone!r} is not known to timm; try resnet18") from error
    except (AssertionError, IndexError) as error:
        raise BadSettings(f"{owner}.levels {tuple(levels)} are not levels of {backbone}; try 1, 2, 3") from error
    return network


class Teacher(nn.Module):
    """``backbone`` as ``seed`` initialises it (random features), unless weights are loaded into it; it is part of the saved
    state, so nothing is ever downloaded.

    Features after a ReLU share a large constant part, and those of an untrained network are nearly all constant: untouched,
    a student agrees with them to within 2 % before anything was learned. So ``standardise`` comes first.

    ``widths``: channels of each level; ``strides``: of each level, in px.
    """

    network: Any

    def __init__(self, owner: str, backbone: str, channels: int, levels: tuple[int, ...], seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = feature_network(owner, backbone, channels, levels)
        self.widths: list[int] = self.network.feature_info.channels()
        self.strides: list[int] = self.network.feature_info.reduction()
        self.standards = nn.ModuleList(nn.BatchNorm2d(width, affine=False, eps=1e-6) for width in self.widths)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Teacher":
        """A teacher stays in evaluation mode, whatever its students do."""
        return super().train(False)

    @torch.no_grad()
    def standardise(self, good: Tensor) -> None:
        """Measure on good images (N, C, H, W) the network's batch statistics, then the spread of its features."""
        for part in (self.network, self.standards):
            for norm in part.modules():
                if isinstance(norm, nn.BatchNorm2d):
                    norm.train()
                    norm.momentum = None  # a plain average over what is seen
                    norm.reset_running_stats()
            for chunk in good.split(16):
                self(chunk)
            part.eval()

    @torch.no_grad()
    def forward(self, images: Tensor) -> list[Tensor]:
        """Standardised float32 features of each level, (N, c, h, w)."""
        return [standard(features.float()) for standard, features in zip(self.standards, self.network(images), strict=True)]
