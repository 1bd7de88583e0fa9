"""Feature networks by name: timm's, or torchvision's as ``torchvision/NAME``; and how weights of other files get into them."""

from collections.abc import Mapping
from typing import Any

import timm
import torch
from torch import Tensor, nn

from core.errors import BadModel, BadSettings
from models.teachers.feature_info import FeatureInfo
from models.teachers.vision_transformer import TransformerFeatures, is_transformer

TORCHVISION = "torchvision/"
PROBE = 128
"""Side in px of the image on which a torchvision network's strides are found."""


def feature_network(owner: str, backbone: str, channels: int, levels: tuple[int, ...]) -> Any:
    """The network ``backbone``, from scratch, that gives its features of ``levels`` (level i of stride 2^(i + 1), 0 to 4),
    shallow to deep: (N, c, h, w) each; vision transformers have one stride (``TransformerFeatures``). ``feature_info`` says
    ``channels()`` and ``reduction()``, stride, of each.

    BadSettings, naming ``owner``, for a name that neither library knows and for levels that the network has not.
    """
    levels = tuple(levels)
    if backbone.startswith(TORCHVISION):
        return TorchvisionFeatures(owner, backbone, levels)
    if is_transformer(backbone):
        return TransformerFeatures(owner, backbone, levels)
    try:
        # timm's feature networks carry no types
        network: Any = timm.create_model(backbone, pretrained=False, features_only=True, in_chans=channels, out_indices=levels)
    except RuntimeError as error:
        raise BadSettings(f"{owner}.backbone {backbone!r} is not known to timm; try resnet18") from error
    except (AssertionError, IndexError) as error:
        raise BadSettings(f"{owner}.levels {levels} are not levels of {backbone}; try 1, 2, 3") from error
    return network


class TorchvisionFeatures(nn.Module):
    """A torchvision classifier cut off after the last layer of each wanted stride; weights keep torchvision's names. Grey
    images are shown in three channels."""

    network: Any

    def __init__(self, owner: str, backbone: str, levels: tuple[int, ...]) -> None:
        super().__init__()
        from torchvision.models import get_model
        from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

        name = backbone.removeprefix(TORCHVISION)
        try:
            whole = get_model(name, weights=None)
            nodes = get_graph_node_names(whole)[1]
        except (ValueError, KeyError, NotImplementedError) as error:
            raise BadSettings(f"{owner}.backbone {backbone!r} is not known to torchvision; try torchvision/resnet18") from error
        strides: dict[int, tuple[str, int]] = {}
        with torch.no_grad():
            found = create_feature_extractor(whole, nodes).eval()(torch.zeros(1, 3, PROBE, PROBE))
        for node, value in found.items():  # in the order of the forward pass: the last of a stride stays
            if isinstance(value, Tensor) and value.ndim == 4 and value.shape[-1] > 1:
                strides[PROBE // int(value.shape[-1])] = (node, int(value.shape[1]))
        wanted = [2 ** (level + 1) for level in levels]
        if not set(wanted) <= set(strides):
            raise BadSettings(
                f"{owner}.levels {levels} are not levels of {backbone}, which has strides {sorted(strides)}; try 1, 2, 3"
            )
        self.network = create_feature_extractor(whole, {strides[stride][0]: str(stride) for stride in wanted})
        self.feature_info = FeatureInfo([strides[stride][1] for stride in wanted], wanted)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features of each level."""
        return list(self.network(images.expand(-1, 3, -1, -1)).values())


def matched(network: nn.Module, weights: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """The state of a feature network out of ``weights``, whose names are its own or those of the classifier that it was cut
    from. BadModel, naming ``source``, where one is missing or of another shape; surplus ones are left out."""
    state: dict[str, Tensor] = {}
    for key, present in network.state_dict().items():
        plain = key.removeprefix("network.")
        # timm's feature lists write the first dot of a name as an underscore.
        found = next((weights[name] for name in (key, plain, plain.replace("_", ".", 1)) if name in weights), None)
        if found is None and key.endswith("num_batches_tracked"):
            found = present  # older files have no such counters, and nothing here reads them
        if found is None:
            raise BadModel(f"{source} has no weights {plain!r}; it is of another network, name the right one with --backbone")
        if found.shape != present.shape:
            raise BadModel(
                f"{source}: {plain!r} is of shape {tuple(found.shape)}, not {tuple(present.shape)}; it is of another network, "
                "name the right one with --backbone"
            )
        state[key] = found.to(present.dtype)
    return state
