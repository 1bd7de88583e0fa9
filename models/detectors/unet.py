"""U-Net (Ronneberger 2015) and UNet++ (Zhou 2018) with two heads, on decoders of segmentation-models-pytorch."""

from collections.abc import Sequence
from typing import Any

from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from segmentation_models_pytorch.decoders.unetplusplus.decoder import UnetPlusPlusDecoder
from torch import Tensor, nn

from core.errors import BadSettings
from models.detectors.encoders import build_encoder, first_stride
from models.detectors.segmentation import RARE, SegmentationDetector


class UNet(SegmentationDetector):
    """The first winner of the competition report (seed ``002``): a U-Net on a plain encoder, with a segmentation and a
    classification head.

    ``encoder``, ``depth``: see ``models.detectors.encoders``. ``widths``: channels of the decoder's levels, deep to shallow; one
    fewer than ``depth`` on a plain encoder, which has a level at full resolution, else as many. ``dense``: skip connections as of
    UNet++, every level with all deeper ones between (not on a plain encoder). At the defaults 17.1 M parameters and 11.8 GMac at
    128 × 128 (the report: 17.51 M, 11.85 GMac)."""

    family = "unet"
    decoder: Any  # smp's decoders carry no types

    def __init__(
        self,
        channels: int = 1,
        encoder: str = "plain64",
        depth: int = 5,
        widths: Sequence[int] = (384, 256, 128, 64),
        classification_weight: float = 1.0,
        dense: bool = False,
        spread: float | None = None,
        keep_upper: bool = False,
    ) -> None:
        built = build_encoder("unet", encoder, channels, depth)
        super().__init__(built.out_channels[-1], classification_weight, spread, keep_upper)
        self.encoder = built
        plain = first_stride(built) == 1
        blocks = depth - 1 if plain else depth
        if len(widths) != blocks:
            raise BadSettings(f"unet.widths {tuple(widths)} must be {blocks} numbers for depth {depth} on {encoder}")
        if dense and plain:
            raise BadSettings(f"unet.dense cannot be had on the encoder {encoder!r}; take one of segmentation-models-pytorch")
        decoder = UnetPlusPlusDecoder if dense else UnetDecoder
        self.decoder = decoder([channels, *built.out_channels], list(widths), n_blocks=len(widths), interpolation_mode="bilinear")
        self.finest = nn.Conv2d(widths[-1], 1, 3, padding=1)
        nn.init.constant_(self.finest.bias, RARE)  # type: ignore[arg-type]  # a convolution with a bias

    def heads(self, images: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        """As of ``SegmentationDetector``; there is no deep supervision."""
        encoded = self.encoder(images)
        return self.finest(self.decoder([images, *encoded])), [], self.classify(encoded[-1])
