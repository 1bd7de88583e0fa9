"""UNet 3+ (Huang 2020, arXiv 2004.08790) on any encoder of segmentation-models-pytorch."""

import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data.errors import BadSettings
from models.detector import Detector, TrainingBatch
from models.losses import segmentation_loss


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class FullScaleStage(nn.Module):
    """One decoder level: every encoder level at or above it and every deeper decoder level, each brought to this level's
    resolution and to ``width`` channels, then concatenated and fused (Huang 2020, eq. 1)."""

    def __init__(self, level: int, encoder_channels: list[int], decoder_channels: list[int], width: int) -> None:
        super().__init__()
        self.level = level
        self.from_encoder = nn.ModuleList(_block(encoder_channels[j], width) for j in range(level + 1))
        self.from_decoder = nn.ModuleList(_block(channels, width) for channels in decoder_channels)
        self.fuse = _block(width * (level + 1 + len(decoder_channels)), width * len(encoder_channels))

    def forward(self, encoded: list[Tensor], deeper: list[Tensor]) -> Tensor:
        """``encoded``: shallow to deep; ``deeper``: decoder levels below this one, nearest first. Gives (N, width * levels, h,
        w)."""
        size = encoded[self.level].shape[-2:]
        parts = []
        for j, block in enumerate(self.from_encoder):
            step = 2 ** (self.level - j)
            parts.append(block(F.max_pool2d(encoded[j], step) if step > 1 else encoded[j]))  # (N, width, h, w)
        for k, block in enumerate(self.from_decoder):
            # Convolution and interpolation are both linear: convolving before enlarging costs 4 to 256 times less.
            parts.append(F.interpolate(block(deeper[k]), size=size, mode="bilinear", align_corners=False))
        fused: Tensor = self.fuse(torch.cat(parts, 1))
        return fused


class UNet3Plus(Detector):
    """Full-scale skip connections, deep supervision and a classification-guided module.

    ``encoder``: a name that segmentation-models-pytorch knows, trained from scratch. ``depth``: encoder levels used (3 to 5;
    level i has
    stride 2^i). ``width``: channels each scale contributes. The decoder's finest level has stride 2: its logits are enlarged to
    full resolution by a 3×3 convolution to 4 channels and a pixel shuffle, which costs a hundredth of a full-resolution stage.

    The classification head is a map at the deepest stride, not a pooled vector, so that it means the same on a crop and on a
    whole image; the fused anomaly map is ``segmentation logit + guide * log-sigmoid(classification logit)``, the soft form
    of the paper's multiplication by the predicted class.
    """

    def __init__(self, channels: int = 1, encoder: str = "resnet18", depth: int = 4, width: int = 24, guide: float = 1.0) -> None:
        super().__init__()
        if not 3 <= depth <= 5:
            raise BadSettings(f"unet3plus.depth {depth} is outside 3..5")
        try:
            self.encoder = smp.encoders.get_encoder(encoder, in_channels=channels, depth=depth, weights=None)
        except (KeyError, RuntimeError, ValueError) as error:
            raise BadSettings(
                f"unet3plus.encoder {encoder!r} is not known to segmentation-models-pytorch; try resnet18"
            ) from error
        encoder_channels = list(self.encoder.out_channels[1:])  # stride 2 first
        levels = len(encoder_channels)
        stages: list[FullScaleStage] = []
        decoder_channels = [encoder_channels[-1]]
        for level in range(levels - 2, -1, -1):
            stages.append(FullScaleStage(level, encoder_channels, decoder_channels, width))
            decoder_channels.insert(0, width * levels)
        self.stages = nn.ModuleList(stages)
        self.supervise = nn.ModuleList(nn.Conv2d(width * levels, 1, 1) for _ in stages[:-1])
        self.deepest = nn.Conv2d(encoder_channels[-1], 1, 1)
        self.finest = nn.Conv2d(width * levels, 4, 3, padding=1)
        self.classify = nn.Sequential(nn.Dropout2d(0.1), nn.Conv2d(encoder_channels[-1], 1, 1))
        self.guide = guide
        for head in (self.finest, self.deepest, *self.supervise):
            nn.init.constant_(head.bias, -3.0)  # defects are rare: start from that, not from one half

    def heads(self, images: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        """Logits at full resolution (N, 1, H, W), the coarser levels' logits, and the classification map (N, 1, H/2^depth,
        W/2^depth)."""
        encoded = list(self.encoder(images)[1:])
        decoded = [encoded[-1]]
        coarse = [self.deepest(encoded[-1])]
        for i, stage in enumerate(self.stages):
            decoded.insert(0, stage(encoded, decoded))  # (N, width * levels, h, w)
            if i < len(self.supervise):
                coarse.append(self.supervise[i](decoded[0]))
        fine = F.pixel_shuffle(self.finest(decoded[0]), 2)  # (N, 1, H, W)
        return fine, coarse, self.classify(encoded[-1])

    def training_loss(self, batch: TrainingBatch, progress: float) -> Tensor:
        """Segmentation loss at every level (weight 1, then 1/2, 1/4 …) + cross entropy of the classification map's maximum."""
        fine, coarse, classes = self.heads(batch.images)
        loss = segmentation_loss(fine, batch.labels, batch.defective)
        for i, logits in enumerate(reversed(coarse)):
            step = batch.labels.shape[-1] // logits.shape[-1]
            labels = F.max_pool2d(batch.labels, step)
            loss = loss + 0.5 ** (i + 1) * segmentation_loss(logits, labels, batch.defective)
        present = F.max_pool2d(batch.labels, batch.labels.shape[-1] // classes.shape[-1])
        loss = loss + 0.25 * F.binary_cross_entropy_with_logits(classes.float(), present)
        whole = classes.float().flatten(1).amax(1)
        return loss + 0.25 * F.binary_cross_entropy_with_logits(whole, batch.defective)

    def forward(self, images: Tensor) -> Tensor:
        """Fused logits (N, 1, H, W)."""
        fine, _, classes = self.heads(images)
        guide = F.interpolate(F.logsigmoid(classes.float()), size=fine.shape[-2:], mode="bilinear", align_corners=False)
        return fine.float() + self.guide * guide
