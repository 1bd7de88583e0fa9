"""U-Net (Ronneberger 2015) and UNet++ (Zhou 2018) with two heads, on decoders of segmentation-models-pytorch."""

from collections.abc import Sequence
from typing import Any

from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from segmentation_models_pytorch.decoders.unetplusplus.decoder import UnetPlusPlusDecoder
from torch import Tensor, nn

from data.errors import BadSettings
from models.encoders import build_encoder, first_stride
from models.segmentation import RARE, SegmentationDetector


class UNet(SegmentationDetector):
    """The founding report's first winner: a U-Net on a plain encoder, with a segmentation and a classification head.

    ``encoder``, ``depth``: see ``models.encoders``. ``widths``: channels of the decoder's levels, deep to shallow; one fewer than
    ``depth`` on a plain encoder, which has a level at full resolution, else as many. At the defaults 17.1 M parameters and 11.8
    GMac at 128 × 128 (the report: 17.51 M, 11.85 GMac).
    """

    decoder: Any  # smp's decoders carry no types

    def __init__(
        self,
        channels: int = 1,
        encoder: str = "plain64",
        depth: int = 5,
        widths: Sequence[int] = (384, 256, 128, 64),
        guide: float = 1.0,
    ) -> None:
        built = build_encoder("unet", encoder, channels, depth)
        super().__init__(built.out_channels[-1], guide)
        self.encoder = built
        blocks = depth if first_stride(built) == 2 else depth - 1
        if len(widths) != blocks:
            raise BadSettings(f"unet.widths {tuple(widths)} must be {blocks} numbers for depth {depth} on {encoder}")
        self.decoder = self.build_decoder([channels, *built.out_channels], list(widths))
        self.finest = nn.Conv2d(widths[-1], 1, 3, padding=1)
        nn.init.constant_(self.finest.bias, RARE)  # type: ignore[arg-type]  # a convolution with a bias

    @staticmethod
    def build_decoder(encoder_channels: list[int], widths: list[int]) -> nn.Module:
        """The decoder for an encoder of ``encoder_channels`` (image first)."""
        decoder: nn.Module = UnetDecoder(encoder_channels, widths, n_blocks=len(widths), interpolation_mode="bilinear")
        return decoder

    def heads(self, images: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        """As of ``SegmentationDetector``; there is no deep supervision."""
        encoded = self.encoder(images)
        return self.finest(self.decoder([images, *encoded])), [], self.classify(encoded[-1])


class TinyUNet(UNet):
    """``UNet`` with half the channels: a quarter of its parameters and operations (the report: 4.38 M, 2.98 GMac)."""

    def __init__(
        self,
        channels: int = 1,
        encoder: str = "plain32",
        depth: int = 5,
        widths: Sequence[int] = (192, 128, 64, 32),
        guide: float = 1.0,
    ) -> None:
        super().__init__(channels, encoder, depth, widths, guide)


class UNetPlusPlus(UNet):
    """UNet++: dense skip connections between encoder and decoder, on any encoder of segmentation-models-pytorch."""

    def __init__(
        self,
        channels: int = 1,
        encoder: str = "resnet18",
        depth: int = 4,
        widths: Sequence[int] = (128, 64, 32, 16),
        guide: float = 1.0,
    ) -> None:
        super().__init__(channels, encoder, depth, widths, guide)

    @staticmethod
    def build_decoder(encoder_channels: list[int], widths: list[int]) -> nn.Module:
        """The dense decoder; it wants a level less than the encoder has strides."""
        decoder: nn.Module = UnetPlusPlusDecoder(encoder_channels, widths, n_blocks=len(widths), interpolation_mode="bilinear")
        return decoder
