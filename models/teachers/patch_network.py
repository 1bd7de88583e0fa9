"""Networks that describe a patch, run over whole images at once: the output at a place is that of the patch there, cut out (fast
dense feature extraction: Bailer 2018, arXiv 1805.03096)."""

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

POOL = 0
LAYERS: dict[int, tuple[int, ...]] = {
    17: (4, POOL, 4, POOL, 2),
    33: (4, POOL, 4, POOL, 3, 4),
    65: (4, POOL, 4, POOL, 5, POOL, 5),
}
"""Kernels of the convolutions by the patch's side in px. Bergmann 2020 has 5×5 kernels, whose poolings leave out a patch's last
pixels; these use all of it, and every patch is halved at least twice, so that a grid of every fourth pixel comes cheap."""
GRID = 4


class PatchNetwork(nn.Module):
    """Descriptors of ``outputs`` numbers of patches of ``side`` px (17, 33 or 65).

    ``width``: channels of the first convolution, doubled from the second on; leaky ReLU of slope 0.005 (Bergmann 2020, sec. 3.1).
    """

    convolutions: Any  # a list of nn.Conv2d, which nn.ModuleList does not say
    last: Any

    def __init__(self, side: int, channels: int, width: int, outputs: int) -> None:
        super().__init__()
        self.side = side
        kernels = [kernel for kernel in LAYERS[side] if kernel != POOL]
        widths = [channels, width, *[2 * width] * (len(kernels) - 1)]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, kernel) for before, after, kernel in zip(widths, widths[1:], kernels, strict=False)
        )
        self.last = nn.Conv2d(2 * width, outputs, 1)
        for layer in (*self.convolutions, self.last):
            nn.init.kaiming_normal_(layer.weight, a=0.005)
            nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor, grid: int = GRID) -> Tensor:
        """(N, C, H, W) to the descriptors (N, outputs, H / grid, W / grid) of the patches about pixels ``grid * i + grid // 2``;
        beyond the image are zeros. ``grid``: 1, 2 or 4 px, of which H and W are multiples."""
        before, after = self.side // 2 - grid // 2, self.side // 2 + grid // 2
        x = F.pad(images, (before, after, before, after))
        stride, apart, convolutions = 1, 1, iter(self.convolutions)
        for kernel in LAYERS[self.side]:
            if kernel != POOL:
                layer = next(convolutions)
                x = F.leaky_relu(F.conv2d(x, layer.weight, layer.bias, dilation=apart), 0.005)
            elif stride < grid:  # places between are not asked for
                x, stride = F.max_pool2d(x, 2), 2 * stride
            else:  # they are: neighbours on the patch's halved grid lie ``apart``
                x, apart = F.max_pool2d(x, 2, stride=1, dilation=apart), 2 * apart
        described: Tensor = self.last(x)
        return described


def of_side(weights: Mapping[str, Tensor], side: int) -> dict[str, Tensor]:
    """Out of the weights of several patch networks, named ``<side>.<weight>``, those of ``side``."""
    return {key.removeprefix(f"{side}."): value for key, value in weights.items() if key.startswith(f"{side}.")}
