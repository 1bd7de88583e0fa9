"""Vision transformers of timm as feature networks: one stride, several depths, images of any size (Dosovitskiy 2021, arXiv
2010.11929; DINOv2: Oquab 2023, arXiv 2304.07193)."""

import math
from functools import cache
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import BadSettings
from models.teachers.feature_info import FeatureInfo

QUARTERS = 4


@cache
def transformers() -> frozenset[str]:
    """The names of timm's plain vision transformers."""
    return frozenset(timm.list_models(module="vision_transformer"))


def is_transformer(backbone: str) -> bool:
    """Whether ``backbone`` is one; ``name.tag`` is its ``name``."""
    return backbone.split(".", maxsplit=1)[0] in transformers()


class TransformerFeatures(nn.Module):
    """The patches' tokens after each quarter of the blocks, as levels 1 to 4, each normalised as the last one is. Weights keep
    timm's names, which are those of DINO and DINOv2 too. What lies behind the last level is left out.

    A patch of 14 or 16 px is one cell of stride 16 (of 8 px, stride 8): images are brought to whole patches first, 14/16 of their
    size for patches of 14 px. Positions are interpolated to the image's grid, bicubically, as both papers do.
    """

    network: Any

    def __init__(self, owner: str, backbone: str, levels: tuple[int, ...]) -> None:
        super().__init__()
        if not levels or not set(levels) <= set(range(1, QUARTERS + 1)):
            raise BadSettings(f"{owner}.levels {levels} are not levels of {backbone}, whose quarters are 1 to 4; try 2, 3")
        self.network = timm.create_model(backbone, pretrained=False, num_classes=0, global_pool="")
        blocks = len(self.network.blocks)
        self.ends = [max(blocks * level // QUARTERS, 1) for level in levels]
        self.network.blocks = self.network.blocks[: max(self.ends)]
        self.width = int(self.network.embed_dim)
        self.ones: Tensor
        self.register_buffer("ones", torch.ones(self.width, 1, 1, 1), persistent=False)
        self.patch = int(self.network.patch_embed.patch_size[0])
        self.stride = 2 ** round(math.log2(self.patch))
        self.grid = math.isqrt(self.network.pos_embed.shape[1])  # tokens before the patches are fewer than a row of them
        self.feature_info = FeatureInfo([self.width] * len(levels), [self.stride] * len(levels))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features (N, c, h / stride, w / stride) of each level, of images (N, 1 or 3, h, w) whose sides are multiples of 32;
        grey is shown in three channels."""
        network = self.network
        images = images.expand(-1, 3, -1, -1)
        rows, columns = images.shape[-2] // self.stride, images.shape[-1] // self.stride
        if self.patch != self.stride:
            size = (rows * self.patch, columns * self.patch)
            images = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
        patches = network.patch_embed.proj(images) + self._positions(rows, columns)  # (N, c, rows, columns)
        tokens = torch.cat([self._first(len(images)), patches.flatten(2).transpose(1, 2)], 1)
        tokens = network.norm_pre(tokens)
        found: dict[int, Tensor] = {}
        for number, block in enumerate(network.blocks, start=1):
            tokens = block(tokens)
            if number in self.ends:
                own = network.norm(tokens)[:, -rows * columns :]
                found[number] = own.transpose(1, 2).reshape(-1, self.width, rows, columns)
        # Times one, so that the exporter knows how many channels there are, which it forgets where rows and columns are open.
        return [F.conv2d(found[end], self.ones, groups=self.width) for end in self.ends]

    def _positions(self, rows: int, columns: int) -> Tensor:
        """Of the patches, (1, c, rows, columns)."""
        own = self.network.pos_embed[:, -(self.grid**2) :]
        square = own.reshape(1, self.grid, self.grid, -1).permute(0, 3, 1, 2)
        return F.interpolate(square, size=(rows, columns), mode="bicubic", align_corners=False)

    def _first(self, count: int) -> Tensor:
        """The tokens before the patches: the class's and registers, (N, n, c); they have positions in some networks only."""
        network = self.network
        given = [token for token in (network.cls_token, getattr(network, "reg_token", None)) if token is not None]
        first = torch.cat(given, 1) if given else network.pos_embed[:, :0]
        placed = network.pos_embed[:, : network.pos_embed.shape[1] - self.grid**2]
        first = first + placed if placed.shape[1] == first.shape[1] else first
        return first.expand(count, -1, -1)
