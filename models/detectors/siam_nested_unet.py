"""Siam-NestedUNet (SNUNet-CD, Fang 2021): a part and a good template of it through one encoder, and dense skips over both."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import BadSettings
from models.detectors.channel_attention import EnsembleAttention
from models.detectors.encoders import build_encoder, first_stride
from models.detectors.segmentation import RARE, SegmentationDetector
from models.detectors.template_bank import TemplateBank
from models.detectors.template_detector import TemplateDetector
from models.trainable import TrainingBatch

REST = -10.0
"""The map where nothing is compared: surely good."""


class ResidualPair(nn.Module):
    """Two 3×3 convolutions with batch normalisation; the first, before its normalisation, is added to the second."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.second = nn.Sequential(
            nn.BatchNorm2d(outputs), nn.ReLU(inplace=False),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip

    def forward(self, features: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H, W)."""
        first = self.first(features)
        return torch.relu(self.second(first) + first)


class SiamNestedUNet(TemplateDetector, SegmentationDetector):
    """Finds where a part differs from a good template of it.

    The template is one of those that the detector holds (``models.detectors.template_bank``): the best match, laid on the image
    by its registration. Both go through the same encoder. Node (i, j) of the decoder, at level i of the encoder, takes the
    encoder's features of both at that level, nodes (i, 1) to (i, j - 1), and node (i + 1, j - 1) enlarged, where (i + 1, 0) is
    the part's encoder (Fang 2021, eq. 1; Zhou 2018, UNet++). All nodes (0, j) are weighed by ensemble channel attention.

    ``encoder``, ``depth``: see ``models.detectors.encoders``. ``widths``: of the decoder's levels, shallow to deep, one fewer
    than ``depth``. ``attention``: False gives all of level 0 to the output as it is. ``siamese``: False shows both to one encoder
    as an image of twice the channels (early fusion), which then starts from no teacher. ``search``: how far a part may be
    shifted, as a share of each side. ``sure``: confidence (0..1) of the registration below which nothing is said.

    Training pairs each crop, with its pseudo-defects, with the same place of its template. No real defect is ever used. What
    differs from the paper: enlarging is bilinear (there a transposed convolution); on an encoder that starts at stride 2 the
    output of level 0 is brought to full resolution by a pixel shuffle, as in our UNet 3+; the attention averages only; a
    classification head sees how the deepest features differ, as in all our segmentation networks. The loss is theirs, too:
    cross entropy and dice, ours with dice over defective crops alone.
    """

    family = "siam_nested_unet"
    learns_from_clean = True

    def __init__(
        self,
        channels: int = 1,
        encoder: str = "resnet18",
        depth: int = 4,
        widths: Sequence[int] = (16, 24, 40),
        classification_weight: float = 1.0,
        attention: bool = True,
        siamese: bool = True,
        search: float = 0.25,
        sure: float = 0.7,
        spread: float | None = None,
        keep_upper: bool = False,
    ) -> None:
        if len(widths) != depth - 1 or min(widths, default=0) < 1:
            raise BadSettings(f"siam_nested_unet.widths {tuple(widths)} must be {depth - 1} numbers above 0 for depth {depth}")
        if not 0.0 < sure <= 1.0:
            raise BadSettings(f"siam_nested_unet.sure {sure} must be above 0 and at most 1")
        if spread is not None and not siamese:
            raise BadSettings("siam_nested_unet.siamese: false starts from no teacher, which sees one image; leave out spread")
        built = build_encoder("siam_nested_unet", encoder, channels if siamese else 2 * channels, depth)
        super().__init__(built.out_channels[-1], classification_weight, spread, keep_upper)
        self.encoder, self.siamese, self.sure = built, siamese, sure
        self.bank = TemplateBank(channels, search)
        seen = 2 if siamese else 1
        self.nodes = nn.ModuleDict()
        for level in range(depth - 1):
            for column in range(1, depth - level):
                below = built.out_channels[level + 1] if column == 1 else widths[level + 1]
                inputs = seen * built.out_channels[level] + (column - 1) * widths[level] + below
                self.nodes[f"{level}-{column}"] = ResidualPair(inputs, widths[level])
        self.attend = EnsembleAttention(depth - 1, widths[0]) if attention else None
        self.shuffles = first_stride(built) == 2
        self.finest = nn.Conv2d((depth - 1) * widths[0], 4 if self.shuffles else 1, 1)
        nn.init.constant_(self.finest.bias, RARE)  # type: ignore[arg-type]  # a convolution with a bias

    @classmethod
    def settings_with(cls, settings: Mapping[str, Any], teacher: Mapping[str, Any], spread: float | None) -> dict[str, Any]:
        """As of ``SegmentationDetector``; early fusion takes no teacher."""
        return super().settings_with(settings, teacher, spread) if settings.get("siamese", True) else dict(settings)

    def heads(self, images: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        """As of ``SegmentationDetector``, of pairs (N, 2 C, H, W): part, then template. There is no deep supervision."""
        if self.siamese:
            both = self.encoder(torch.cat(images.chunk(2, 1)))
            parts, templates = zip(*(features.chunk(2) for features in both), strict=True)
            skips = [torch.cat(pair, 1) for pair in zip(templates, parts, strict=True)]
            deepest = (parts[-1] - templates[-1]).abs()
        else:
            parts = skips = self.encoder(images)
            deepest = parts[-1]
        columns: list[list[Tensor]] = [[] for _ in parts]
        for column in range(1, len(parts)):
            for level in range(len(parts) - column):
                below = parts[level + 1] if column == 1 else columns[level + 1][column - 2]
                size = parts[level].shape[-2:]
                enlarged = F.interpolate(below, size=size, mode="bilinear", align_corners=False)
                columns[level].append(self.nodes[f"{level}-{column}"](torch.cat([skips[level], *columns[level], enlarged], 1)))
        ensemble = torch.cat(columns[0], 1) if self.attend is None else self.attend(columns[0])
        fine = self.finest(ensemble)
        return F.pixel_shuffle(fine, 2) if self.shuffles else fine, [], self.classify(deepest)

    def training_loss(self, batch: TrainingBatch, progress: float) -> Tensor:
        """As of ``SegmentationDetector``; ``batch.clean`` are the crops' templates."""
        if batch.clean is None:
            raise BadSettings("siam_nested_unet learns from pairs; draw crops with CropPlan.with_clean")
        return super().training_loss(replace(batch, images=torch.cat([batch.images, batch.clean], 1)), progress)

    def compared(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """As of ``RegisteringDetector``: fused logits, -10 where nothing is known of what is good."""
        laid = self.bank.laid(images)
        said = SegmentationDetector.forward(self, torch.cat([images, laid.template], 1))
        return REST + (said - REST) * laid.known * self.weight(laid.confidence), laid.confidence
