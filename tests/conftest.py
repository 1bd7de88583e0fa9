"""What all tests share."""

import signal
from collections.abc import Iterator

import pytest

# A shell without job control starts what runs in the background with Ctrl-C ignored, and so would every program of a test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _files_settle_at_once() -> Iterator[None]:
    """Tests write their deliveries a moment before they are taken; only the test of waiting waits for that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("data.settle.QUIET", 0.0)
        yield
