"""UNet 3+ (Huang 2020, arXiv 2004.08790) on any encoder of segmentation-models-pytorch, or on the paper's plain one."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import BadSettings
from models.detectors.encoders import build_encoder, conv_block, first_stride
from models.detectors.segmentation import RARE, SegmentationDetector


class FullScaleStage(nn.Module):
    """One decoder level: every encoder level at or above it and every deeper decoder level, each brought to this level's
    resolution and to ``width`` channels, then concatenated and fused to ``width * levels`` (Huang 2020, eq. 1).

    ``enlarge_first``: the paper's order, interpolation before convolution, which costs 4 to 256 times more on each such path.
    """

    def __init__(
        self, level: int, encoder_channels: list[int], decoder_channels: list[int], width: int, enlarge_first: bool = False
    ) -> None:
        super().__init__()
        self.level, self.enlarge_first = level, enlarge_first
        self.from_encoder = nn.ModuleList(conv_block(encoder_channels[j], width) for j in range(level + 1))
        self.from_decoder = nn.ModuleList(conv_block(channels, width) for channels in decoder_channels)
        self.fuse = conv_block(width * (level + 1 + len(decoder_channels)), width * len(encoder_channels))

    def forward(self, encoded: list[Tensor], deeper: list[Tensor]) -> Tensor:
        """``encoded``: shallow to deep; ``deeper``: decoder levels below this one, nearest first. Gives (N, width * levels, h,
        w)."""
        size = encoded[self.level].shape[-2:]
        parts = []
        for j, block in enumerate(self.from_encoder):
            step = 2 ** (self.level - j)
            parts.append(block(F.max_pool2d(encoded[j], step) if step > 1 else encoded[j]))  # (N, width, h, w)
        for k, block in enumerate(self.from_decoder):
            if self.enlarge_first:
                parts.append(block(F.interpolate(deeper[k], size=size, mode="bilinear", align_corners=False)))
            else:
                parts.append(F.interpolate(block(deeper[k]), size=size, mode="bilinear", align_corners=False))
        fused: Tensor = self.fuse(torch.cat(parts, 1))
        return fused


class UNet3Plus(SegmentationDetector):
    """Full-scale skip connections, deep supervision and a classification-guided module.

    ``encoder``, ``depth``: see ``models.detectors.encoders``. ``width``: channels each scale contributes. ``finish``: how logits
    of full resolution come about on an encoder that starts at stride 2: ``shuffle`` (a 3×3 convolution to 4 channels and a pixel
    shuffle, a hundredth of the cost of another stage) or ``stage`` (one more decoder level, at full resolution, of ``width``
    channels). ``enlarge_first``: see ``FullScaleStage``. ``spread``, ``keep_upper``: see ``SegmentationDetector``."""

    family = "unet3plus"

    def __init__(
        self,
        channels: int = 1,
        encoder: str = "resnet18",
        depth: int = 4,
        width: int = 24,
        classification_weight: float = 1.0,
        finish: str = "shuffle",
        enlarge_first: bool = False,
        spread: float | None = None,
        keep_upper: bool = False,
    ) -> None:
        if finish not in ("shuffle", "stage"):
            raise BadSettings(f"unet3plus.finish {finish!r} is neither 'shuffle' nor 'stage'")
        built = build_encoder("unet3plus", encoder, channels, depth)
        encoder_channels = built.out_channels
        super().__init__(encoder_channels[-1], classification_weight, spread, keep_upper)
        self.encoder = built
        levels = len(encoder_channels)
        stages: list[FullScaleStage] = []
        decoder_channels = [encoder_channels[-1]]
        for level in range(levels - 2, -1, -1):
            stages.append(FullScaleStage(level, encoder_channels, decoder_channels, width, enlarge_first))
            decoder_channels.insert(0, width * levels)
        self.stages = nn.ModuleList(stages)
        self.supervise = nn.ModuleList(nn.Conv2d(width * levels, 1, 1) for _ in stages[:-1])
        self.deepest = nn.Conv2d(encoder_channels[-1], 1, 1)
        self.shuffles = first_stride(built) == 2 and finish == "shuffle"
        self.full: FullScaleStage | None = None
        if first_stride(built) == 2 and finish == "stage":
            self.full = FullScaleStage(0, [channels], decoder_channels, width, enlarge_first)
        self.finest = nn.Conv2d(width if self.full else width * levels, 4 if self.shuffles else 1, 3, padding=1)
        for head in (self.finest, self.deepest, *self.supervise):
            nn.init.constant_(head.bias, RARE)

    def heads(self, images: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        """As of ``SegmentationDetector``."""
        encoded = self.encoder(images)
        decoded = [encoded[-1]]
        coarse = [self.deepest(encoded[-1])]
        for i, stage in enumerate(self.stages):
            decoded.insert(0, stage(encoded, decoded))  # (N, width * levels, h, w)
            if i < len(self.supervise):
                coarse.append(self.supervise[i](decoded[0]))
        fine = self.finest(decoded[0] if self.full is None else self.full([images], decoded))
        return F.pixel_shuffle(fine, 2) if self.shuffles else fine, coarse, self.classify(encoded[-1])
