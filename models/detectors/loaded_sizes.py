"""Buffers whose height and width are known only when a network has seen images, or is loaded."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


class TakesLoadedSizes(nn.Module):
    """Takes the height and width of its own buffers from the state that it is given; all that comes before these two has to fit,
    and is refused by PyTorch otherwise."""

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        for name, buffer in list(self._buffers.items()):
            loaded = state_dict.get(prefix + name)
            if isinstance(buffer, Tensor) and isinstance(loaded, Tensor) and loaded.shape[:-2] == buffer.shape[:-2]:
                setattr(self, name, buffer.new_zeros(loaded.shape))
        super()._load_from_state_dict(state_dict, prefix, *rest)
