"""Whether a batch is grey or in colour, all its files decide."""

import pytest

from core.errors import BadBatch
from data.kind import Seen, channels_of

GREY_FILE, NEUTRAL, COLOURED = Seen(1, False), Seen(3, False), Seen(3, True)


@pytest.mark.parametrize(
    ("pictures", "channels", "odd"),
    [
        ([GREY_FILE] * 12, 1, []),
        ([NEUTRAL] * 12, 1, []),
        ([GREY_FILE] * 6 + [NEUTRAL] * 6, 1, []),
        ([COLOURED] * 12, 3, []),
        ([COLOURED] + [NEUTRAL] * 39, 3, []),  # a mark on one part
        ([NEUTRAL] + [COLOURED] * 39, 3, []),
        ([COLOURED] * 8 + [GREY_FILE] * 4, 3, []),  # a program that saves pictures without colour as grey
        ([GREY_FILE] * 19 + [COLOURED], 1, [19]),
        ([GREY_FILE] * 18 + [NEUTRAL, COLOURED], 1, [19]),
    ],
)
def test_kind(pictures: list[Seen], channels: int, odd: list[int]) -> None:
    assert channels_of(pictures) == (channels, odd)


def test_a_mixture_is_refused_with_a_way_out() -> None:
    with pytest.raises(BadBatch, match=r"14 grey and 3 colour images in one batch.*saved as RGB count as colour"):
        channels_of([GREY_FILE] * 14 + [COLOURED] * 3)
