"""Grey or colour: a batch is one or the other, and all its files decide, not each picture for itself.

A colour camera takes pictures without any colour too, of a grey part before a grey ground: JPEG rounds the last tint away. Such a
picture is told from a grey camera's by what the file holds, three channels or one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from core.errors import BadBatch

ODD_SHARE = 0.10
"""Up to this share of coloured pictures among grey files are left out as strays; above it, the batch is refused."""


@dataclass(frozen=True)
class Seen:
    """One picture. ``stored``: channels of its file, 1 or 3; ``coloured``: whether any of its pixels has a colour."""

    stored: int
    coloured: bool


def channels_of(pictures: Sequence[Seen]) -> tuple[int, list[int]]:
    """Channels of the batch, 1 or 3, and the numbers of pictures that are left out as strays; BadBatch for a mixture.

    Without any coloured picture it is grey. With one, it is in colour if most files hold three channels; grey pictures then are
    shown in three. A few coloured pictures among files of one channel are of another origin, such as a logo.
    """
    coloured = [number for number, picture in enumerate(pictures) if picture.coloured]
    if not coloured:
        return 1, []
    if 2 * sum(picture.stored == 3 for picture in pictures) > len(pictures):
        return 3, []
    if len(coloured) > ODD_SHARE * len(pictures):
        raise BadBatch(
            f"{len(pictures) - len(coloured)} grey and {len(coloured)} colour images in one batch; a batch is one or the other "
            f"(at most {ODD_SHARE:.0%} are left out as strays): convert them to one kind (grey ones that are saved as RGB count "
            "as colour) or ingest two batches"
        )
    return 1, coloured
