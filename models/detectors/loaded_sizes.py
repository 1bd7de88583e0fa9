"""Buffers whose height and width are known only when a network has seen images, or is loaded."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn


class TakesLoadedSizes(nn.Module):
    """Takes the height and width of its own buffers from the state that it is given, and, where it is ``counted``, how many there
    are of them, the first side. All other sides have to fit, and are refused by PyTorch otherwise."""

    counted: ClassVar[bool] = False

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        for name, buffer in list(self._buffers.items()):
            loaded = state_dict.get(prefix + name)
            if isinstance(buffer, Tensor) and isinstance(loaded, Tensor) and self._fits(loaded, buffer):
                setattr(self, name, buffer.new_zeros(loaded.shape))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _fits(self, loaded: Tensor, buffer: Tensor) -> bool:
        first = int(self.counted and buffer.ndim > 2)
        return loaded.ndim == buffer.ndim and loaded.shape[first:-2] == buffer.shape[first:-2]
