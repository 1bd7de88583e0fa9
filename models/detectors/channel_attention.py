"""Ensemble channel attention (Fang 2021, "SNUNet-CD", sec. II-B), on squeeze-and-excitation (Hu 2018, arXiv 1709.01507)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

REDUCED = 4
"""By how much the hidden layer is narrower than what it weighs."""
NARROWEST = 4


class ChannelAttention(nn.Module):
    """A weight in 0..1 for each of ``channels``: the mean over the image, a 1×1 convolution, ReLU, a 1×1 convolution, sigmoid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // REDUCED, NARROWEST)
        self.narrow, self.wide = nn.Conv2d(channels, hidden, 1), nn.Conv2d(hidden, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, 1, 1)."""
        squeezed = features.mean(3, keepdim=True).mean(2, keepdim=True)
        weights: Tensor = torch.sigmoid(self.wide(torch.relu(self.narrow(squeezed))))
        return weights


class EnsembleAttention(nn.Module):
    """Weighs ``count`` maps of ``width`` channels each: by their sum within a map, and all channels of all maps against each
    other. ``out = A(cat) · (cat + repeat(A(sum)))``, as the authors' network does."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.count = count
        self.within, self.between = ChannelAttention(width), ChannelAttention(count * width)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """``count`` maps (N, width, H, W) to (N, count * width, H, W)."""
        ensemble = torch.cat(list(maps), 1)
        within = self.within(torch.stack(list(maps)).sum(0)).repeat(1, self.count, 1, 1)
        attended: Tensor = self.between(ensemble) * (ensemble + within)
        return attended
