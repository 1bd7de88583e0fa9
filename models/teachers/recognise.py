"""Which feature network a file of weights is of, found by its tensors alone: by their names, else by their order and shapes."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import timm
import torch
from torch import Tensor

from core.errors import BadModel
from models.teachers.vision_transformer import is_transformer

KNOWN = (
    "tf_efficientnet_lite0", "tf_efficientnet_lite1", "tf_efficientnet_lite2", "tf_efficientnet_lite3", "tf_efficientnet_lite4",
    "resnet10t", "resnet18", "resnet34", "resnet26", "resnet50", "wide_resnet50_2", "resnet18d", "resnet26d",
    "mobilenetv2_100", "mobilenetv3_large_100", "mobilenetv3_small_100", "efficientnet_b0", "efficientnet_b1", "efficientnet_b2",
    "regnetx_002", "regnety_002", "regnety_004", "convnext_atto", "convnext_femto", "convnext_tiny", "lcnet_050", "lcnet_100",
    "vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2", "vit_base_patch14_dinov2", "vit_base_patch14_reg4_dinov2",
    "vit_tiny_patch16_224", "vit_small_patch16_224", "vit_small_patch8_224", "vit_base_patch16_224", "vit_base_patch8_224",
)  # fmt: skip
"""Networks of timm that are looked for. Of two that fit, the first; a network that is not listed has to be named."""
HEADS = ("classifier.", "fc.", "head.fc.")
"""What timm calls classifiers, whose tensors are the last ones and not needed."""
COUNTER = "num_batches_tracked"
IMAGE_SPREAD = 0.2
"""Standard deviation of the pixels (0..1) within a photograph of everyday things, as ImageNet has them: about."""


def recognised(weights: Mapping[str, Tensor], source: str) -> tuple[str, dict[str, Tensor]]:
    """The network's name, and ``weights`` under the names that timm gives them. BadModel, naming ``source``, where no known
    network has these tensors: those of another size, or cut off."""
    given = {key: tuple(value.shape) for key, value in weights.items() if not key.endswith(COUNTER)}
    for network in KNOWN:
        if all(given.get(key) == shape for key, shape in _tensors(network).items()):
            return network, dict(weights)
    # Other programs name the same tensors in another way, but in the same order, a classifier last or not at all.
    shapes = list(given.values())
    for network in KNOWN:
        wanted = _tensors(network)
        body = [shape for key, shape in wanted.items() if not key.startswith(HEADS)]
        if len(shapes) in (len(wanted), len(body)) and shapes[: len(body)] == body:
            return network, {ours: weights[theirs] for ours, theirs in zip(wanted, given, strict=False)}
    raise BadModel(
        f"{source}: no known network has its {len(given)} tensors; name the network with --backbone, or get the file again if it "
        "may be cut off"
    )


@cache
def _tensors(network: str) -> dict[str, tuple[int, ...]]:
    # Transformers are published without a classifier as often as with one.
    bare: dict[str, Any] = {"num_classes": 0} if is_transformer(network) else {}
    try:
        with torch.device("meta"):
            whole = timm.create_model(network, pretrained=False, **bare)
    except NotImplementedError:  # the meta device of torch 2.11 lacks an operator that timm initialises with
        whole = timm.create_model(network, pretrained=False, **bare)
    return {key: tuple(value.shape) for key, value in whole.state_dict().items() if not key.endswith(COUNTER)}


def natural_spread(backbone: str) -> float:
    """Standard deviation, in the units of the network ``backbone``'s input, of the photographs that its published weights were
    trained on: they were brought there by a mean and a deviation that timm notes; torchvision's are ImageNet's."""
    from timm.models import get_pretrained_cfg

    try:
        noted = get_pretrained_cfg(backbone)
    except RuntimeError:
        noted = None
    deviation = noted.std if noted is not None else (0.229, 0.224, 0.225)
    return round(IMAGE_SPREAD / (sum(deviation) / len(deviation)), 2)
