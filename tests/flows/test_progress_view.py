"""Times on the screen."""

import pytest

from flows.progress_view import time_text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1:00 min"),
        (299.7, "5:00 min"),
        (185, "3:05 min"),
        (3599.8, "1:00 h"),
        (3720, "1:02 h"),
    ],
)
def test_a_time_never_has_sixty_of_anything(seconds: float, text: str) -> None:
    assert time_text(seconds) == text
