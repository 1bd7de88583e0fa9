"""What a feature network says of its features, as timm's networks say it."""


class FeatureInfo:
    """``channels`` and ``reduction`` (stride in px) of each level, shallow to deep."""

    def __init__(self, channels: list[int], reduction: list[int]) -> None:
        self._channels, self._reduction = channels, reduction

    def channels(self) -> list[int]:
        """Of each level."""
        return list(self._channels)

    def reduction(self) -> list[int]:
        """Stride of each level, in px."""
        return list(self._reduction)
