"""Named networks: the founding report's four, with the parameters and operations that it gives, and our own, cheaper ones.

``NETWORKS`` maps a name to (detector family, settings). The report's figures: U-Net 17.51 M parameters, 11.85 GMac at 128 × 128;
Tiny U-Net 4.38 M, 2.98 GMac; UNet 3+ 27.5 M, 49.58 GMac; UNet 3+ on EfficientNet-b1 7.74 M, 6.11 GMac.
"""

from typing import Any

import torch
from torch import nn

NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "unet": ("unet", {"encoder": "plain64", "widths": (384, 256, 128, 64)}),
    "tiny_unet": ("unet", {"encoder": "plain32", "widths": (192, 128, 64, 32)}),
    "unet3plus_paper": ("unet3plus", {"encoder": "plain64x16", "depth": 5, "width": 64, "enlarge_first": True}),
    "unet3plus_b1": (
        "unet3plus",
        {"encoder": "efficientnet-b1", "depth": 5, "width": 27, "finish": "stage", "enlarge_first": True},
    ),
    "unetplusplus": ("unet", {"encoder": "resnet18", "depth": 4, "widths": (128, 64, 32, 16), "dense": True}),
    "unet3plus": ("unet3plus", {"encoder": "tu-regnetx_002", "depth": 4, "width": 8}),
    "stpm": ("stpm", {"backbone": "resnet10t"}),
    "rstpm": ("rstpm", {"backbone": "resnet10t"}),
    "denoising_student": ("denoising_student", {"backbone": "resnet10t"}),
    "patchcore": ("patchcore", {"backbone": "resnet10t"}),
    "patchcore_deep": ("patchcore", {"backbone": "resnet10t", "levels": (3, 4)}),
    "uninformed_students": ("uninformed_students", {}),
}


def operations(network: nn.Module, images: torch.Tensor) -> int:
    """Multiply-accumulates of all convolutions of one forward pass of ``network`` on ``images`` (N, C, H, W)."""
    total = 0

    def count(layer: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        nonlocal total
        assert isinstance(layer, nn.Conv2d)  # noqa: S101 - only these are hooked
        kernel = layer.kernel_size[0] * layer.kernel_size[1] * layer.in_channels // layer.groups
        total += kernel * output.numel()

    hooks = [layer.register_forward_hook(count) for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    with torch.no_grad():
        network(images)
    for hook in hooks:
        hook.remove()
    return total
