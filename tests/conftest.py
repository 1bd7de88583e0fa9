"""What all tests share."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

# A shell without job control starts what runs in the background with Ctrl-C ignored, and so would every program of a test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

MEMORY = Path("/dev/shm")  # noqa: S108 - the folder that is made in it is its owner's alone
ROOM = 4 << 30
"""What the folders of all tests may take; a whole run needs a fifth of it."""
_ROOT = pytest.StashKey[Path]()


# Networks of the tests are small, and several tests run at once: threads that spin while they wait take the processors from all.
for name, value in (("OMP_NUM_THREADS", "1"), ("OMP_WAIT_POLICY", "PASSIVE")):
    os.environ.setdefault(name, value)


def pytest_configure(config: pytest.Config) -> None:
    """Puts temporary folders into memory where there is room: the registry's tests waited for the disk a third of their time.

    They are gone afterwards; ``--basetemp`` keeps them.
    """
    if config.option.basetemp or os.environ.get("PYTEST_DEBUG_TEMPROOT") or hasattr(config, "workerinput"):
        return
    for left in MEMORY.glob("t-*-*"):  # by a run that was killed
        pid = left.name.split("-")[1]
        if left.stat().st_uid == os.getuid() and pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM:
        # Short, for a socket's path has 107 characters at most.
        config.stash[_ROOT] = Path(tempfile.mkdtemp(prefix=f"t-{os.getpid()}-", dir=MEMORY))
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(config.stash[_ROOT])


def pytest_unconfigure(config: pytest.Config) -> None:
    root = config.stash.get(_ROOT, None)
    if root is not None:
        del os.environ["PYTEST_DEBUG_TEMPROOT"]
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(autouse=True)
def _files_settle_at_once() -> Iterator[None]:
    """Tests write their deliveries a moment before they are taken; only the test of waiting waits for that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("data.settle.QUIET", 0.0)
        yield
