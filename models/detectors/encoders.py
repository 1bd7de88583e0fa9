"""Encoders: any of segmentation-models-pytorch by name, or the plain one that the first U-Nets were drawn with."""

from typing import Any

import segmentation_models_pytorch as smp
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import BadSettings

PLAIN = "plain"
OF_TIMM = "tu-"
"""What segmentation-models-pytorch puts before the names of timm's networks."""


def conv_block(inputs: int, outputs: int) -> nn.Sequential:
    """3×3 convolution, batch normalisation, ReLU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class PlainEncoder(nn.Module):
    """Pairs of 3×3 convolutions with max pooling between them (Ronneberger 2015), batch-normalised; level 0 at full resolution.

    ``width`` channels at level 0, doubled at every level and never more than ``widest``.
    """

    def __init__(self, channels: int, width: int, depth: int, widest: int) -> None:
        super().__init__()
        self.out_channels = [min(width * 2**level, widest) for level in range(depth)]
        inputs = [channels, *self.out_channels[:-1]]
        self.levels = nn.ModuleList(
            nn.Sequential(conv_block(before, after), conv_block(after, after))
            for before, after in zip(inputs, self.out_channels, strict=True)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features of every level, shallow to deep: level i (N, C_i, H / 2^i, W / 2^i)."""
        found: list[Tensor] = []
        for level in self.levels:
            found.append(level(F.max_pool2d(found[-1], 2) if found else images))
        return found


class NamedEncoder(nn.Module):
    """An encoder of segmentation-models-pytorch without its first entry (the image itself): level i has stride 2^(i + 1)."""

    network: Any  # smp's encoders carry no types

    def __init__(self, owner: str, name: str, channels: int, depth: int) -> None:
        super().__init__()
        try:
            self.network = smp.encoders.get_encoder(name, in_channels=channels, depth=depth, weights=None)
        except (KeyError, RuntimeError, ValueError) as error:
            raise BadSettings(f"{owner}.encoder {name!r} is not known to segmentation-models-pytorch; try resnet18") from error
        self.out_channels = [int(c) for c in self.network.out_channels[1:]]
        if not all(self.out_channels):  # some have nothing at stride 2
            raise BadSettings(f"{owner}.encoder {name!r} has no features at every stride; try resnet18")

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features of every level, shallow to deep."""
        return list(self.network(images)[1:])


def build_encoder(owner: str, name: str, channels: int, depth: int) -> PlainEncoder | NamedEncoder:
    """The encoder called ``name``: ``plain64`` (the number is the width of level 0, at most eight times that deeper down),
    ``plain64x16`` (at most sixteen times), or any name that segmentation-models-pytorch knows. BadSettings, naming ``owner``,
    for others and for a depth outside 3..5. From scratch, always."""
    if not 3 <= depth <= 5:
        raise BadSettings(f"{owner}.depth {depth} is outside 3..5")
    if not name.startswith(PLAIN):
        return NamedEncoder(owner, name, channels, depth)
    width, _, most = name.removeprefix(PLAIN).partition("x")
    if not width.isdecimal() or not (most or "8").isdecimal() or not 4 <= int(width) <= 256:
        raise BadSettings(f"{owner}.encoder {name!r} is not 'plain' and a width from 4 to 256, as in plain64 or plain64x16")
    return PlainEncoder(channels, int(width), depth, int(width) * int(most or "8"))


def first_stride(encoder: PlainEncoder | NamedEncoder) -> int:
    """Stride of level 0: 1 of a plain encoder, 2 of others."""
    return 1 if isinstance(encoder, PlainEncoder) else 2
