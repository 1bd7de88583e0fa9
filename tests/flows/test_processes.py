"""Only processes of ours are ended, and all of them."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from flows.serving.processes import ProcessMark, end_group

FAMILY = """
import subprocess, sys, time, pathlib
child = subprocess.Popen([sys.executable, "-c", "from signal import *; signal(SIGTERM, SIG_IGN); pause()"])
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
time.sleep(60)
"""


def start(code: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code, *arguments], start_new_session=True)


def read_when_there(file: Path) -> int:
    for _ in range(200):
        if file.exists() and file.read_text():
            return int(file.read_text())
        time.sleep(0.05)
    raise TimeoutError(file)


def test_a_whole_family_is_ended_even_children_that_do_not_listen(tmp_path: Path) -> None:
    parent = start(FAMILY, str(tmp_path / "child"))
    child = psutil.Process(read_when_there(tmp_path / "child"))
    mark = ProcessMark.of(parent.pid)
    time.sleep(0.3)  # the child has to have set its handler
    assert end_group(mark, patience=2.0)
    parent.wait(5)
    assert not mark.alive() and not child.is_running()
    assert not end_group(mark)


def test_orphans_of_a_killed_leader_are_ended(tmp_path: Path) -> None:
    parent = start(FAMILY, str(tmp_path / "child"))
    child = psutil.Process(read_when_there(tmp_path / "child"))
    mark = ProcessMark.of(parent.pid)
    parent.kill()
    parent.wait(5)
    assert child.is_running() and end_group(mark, patience=0.5) and not child.is_running()


def test_a_stranger_with_the_number_is_left_alone() -> None:
    stranger = start("import time; time.sleep(60)")
    try:
        recycled = ProcessMark(stranger.pid, ProcessMark.of(stranger.pid).started - 3600)
        assert not recycled.alive()
        assert not end_group(recycled, patience=0.2)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait(5)


def test_a_process_that_is_gone_has_no_mark_and_a_zombie_is_not_alive() -> None:
    child = start("pass")
    mark = ProcessMark.of(child.pid)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, and not yet reaped
    assert not mark.alive()
    child.wait(5)
    with pytest.raises(psutil.NoSuchProcess):
        ProcessMark.of(child.pid)
