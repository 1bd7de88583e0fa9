"""A decoder from one network's features to another's: what students that reconstruct share."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.detectors.encoders import conv_block


class AttentionGate(nn.Module):
    """Additive attention (Oktay 2018, arXiv 1804.03999, eq. 1): at each place ``skip`` passes as far as it agrees with what was
    decoded so far."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.skip, self.decoded, self.both = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1), nn.Conv2d(width, 1, 1)

    def forward(self, skip: Tensor, decoded: Tensor) -> Tensor:
        """``skip`` and ``decoded`` (N, c, h, w); ``skip`` times a weight (N, 1, h, w) in 0..1."""
        return skip * torch.sigmoid(self.both(F.relu(self.skip(skip) + self.decoded(decoded))))


class FeatureDecoder(nn.Module):
    """From features of ``inputs`` channels, of levels each half as large as the one before, to features of ``outputs`` channels
    at the same levels.

    The deepest level is halved once more, and all that is decoded starts from there; the levels themselves come in beside it,
    through an ``AttentionGate`` where ``attention`` is given. ``width``: channels inside.
    """

    def __init__(self, inputs: list[int], outputs: list[int], width: int, attention: bool) -> None:
        super().__init__()
        self.narrow = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in inputs)
        self.bottleneck = conv_block(width, width)
        self.gates = nn.ModuleList(AttentionGate(width) if attention else nn.Identity() for _ in inputs)
        self.attention = attention
        self.blocks = nn.ModuleList(conv_block(2 * width, width) for _ in inputs)
        self.heads = nn.ModuleList(nn.Conv2d(width, channels, 1) for channels in outputs)

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        """``levels``, shallow to deep, each (N, c, h, w), to as many, of the same sizes."""
        narrow = [layer(level) for layer, level in zip(self.narrow, levels, strict=True)]
        x = self.bottleneck(F.max_pool2d(narrow[-1], 2))  # (N, width, h / 2, w / 2) of the deepest
        found: list[Tensor] = []
        for skip, gate, block, head in reversed(list(zip(narrow, self.gates, self.blocks, self.heads, strict=True))):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = block(torch.cat([gate(skip, x) if self.attention else skip, x], 1))
            found.append(head(x))
        return found[::-1]
