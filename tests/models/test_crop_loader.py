"""Processes that draw crops: the same crops whoever draws them, the same processes all along, and none left behind."""

import errno
import multiprocessing
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from data.defects.recipe import Recipe
from data.defects.scale import measure_scale
from models.training.crop_loader import CropLoader
from models.training.crops import Course, CropPlan, CropSeries
from models.training.one_copy import OneCopy
from tests.models.detector_tests import good_image

COURSES = [Course(96), Course(96, 0.4, ((1, 40, 50), (3, 10, 90))), Course(160, 0.7, ((0, 5, 5),), 48, 0.5)]
"""Of three paces of two steps of eight crops."""
LINUX = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="there is no /proc")


def series() -> CropSeries:
    images = [good_image(i) for i in range(4)]
    plan = CropPlan(Recipe(), measure_scale(images), 64, 96, "competence", 3, with_clean=True)
    return CropSeries(images, plan, [image[..., 0] > 40 for image in images])


@pytest.fixture
def start_by(request: pytest.FixtureRequest) -> Iterator[str]:
    """Processes are started as the parameter says, as on a Mac (spawn) or by Python 3.14 (forkserver)."""
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method(request.param, force=True)
    yield request.param
    multiprocessing.set_start_method(before, force=True)


def mapped_files(pid: int | None) -> set[str]:
    """Inodes of the nameless temporary files that a process has mapped."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {line.split()[4] for line in lines if line.endswith("(deleted)") and tempfile.gettempdir() in line}


@LINUX
@pytest.mark.parametrize("start_by", ["fork", "spawn", "forkserver"], indirect=True)
def test_the_same_crops_from_the_same_processes_at_every_pace(start_by: str) -> None:
    crops, pids = series(), []
    with CropLoader(crops, 8, 2) as shared, CropLoader(crops, 8, 0) as alone:
        for pace, course in enumerate(COURSES):
            drawn = list(
                zip(shared.batches(2 * pace, 2 * pace + 2, course), alone.batches(2 * pace, 2 * pace + 2, course), strict=True)
            )
            assert len(drawn) == 2
            for step, (a, b) in enumerate(drawn, start=2 * pace):
                single = [crops[i, course] for i in range(8 * step, 8 * step + 8)]
                for one in (a, b):
                    assert torch.equal(one.images, torch.stack([item[0] for item in single]))
                    assert torch.equal(one.labels, torch.stack([item[1] for item in single]))
                    assert one.clean is not None and torch.equal(one.clean, torch.stack([item[2] for item in single]))
            pids.append({process.pid for process in multiprocessing.active_children()})
        assert len(pids[0]) == 2 and pids[0] == pids[1] == pids[2]
        if start_by != "fork":  # which inherits the images
            assert len(set.intersection(*(mapped_files(pid) for pid in pids[0]))) == 2, "images and parts are there once for all"
        left_early = next(iter(shared.batches(0, 6, COURSES[0])))
        again = next(iter(shared.batches(3, 6, COURSES[1])))
        assert torch.equal(left_early.images[0], crops[0, COURSES[0]][0])
        assert torch.equal(again.images[0], crops[24, COURSES[1]][0])
    assert multiprocessing.active_children() == []


def test_a_course_changes_the_crops_that_follow() -> None:
    crops = series()
    assert any(not torch.equal(crops[i][0], crops[i, COURSES[2]][0]) for i in range(8))
    assert all(torch.equal(crops[i][0], crops[i, Course(96)][0]) for i in range(8))


def test_an_error_leaves_no_process_behind() -> None:
    with pytest.raises(RuntimeError) as kept, CropLoader(series(), 8, 2) as shared:
        for _ in shared.batches(0, 6):
            assert len(multiprocessing.active_children()) == 2
            raise RuntimeError("a step failed")
    assert kept.tb is not None and multiprocessing.active_children() == []


SCRIPT = """
import multiprocessing, sys, time
from models.training.crop_loader import CropLoader
from tests.models.test_crop_loader import series
if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    loader = CropLoader(series(), 8, 2)
    drawn = loader.batches(0, 12)
    next(drawn)
    print(*(process.pid for process in multiprocessing.active_children()), flush=True)
    time.sleep(600)
"""


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@LINUX
def test_a_killed_training_leaves_no_process_behind(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    command, root = [sys.executable, str(tmp_path / "script.py")], Path(__file__).parents[2]
    started = [
        subprocess.Popen([*command, how], stdout=subprocess.PIPE, text=True, cwd=root, env={"PYTHONPATH": str(root)})
        for how in ("fork", "forkserver")
    ]
    drawing = []
    for process in started:
        assert process.stdout is not None
        drawing += [int(pid) for pid in process.stdout.readline().split()]
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert len(drawing) == 4
    until = time.monotonic() + 60
    while any(map(lives, drawing)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(lives, drawing))


def test_without_room_for_a_file_each_process_gets_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("multiprocessing.context.get_spawning_popen", object)
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    made, (arrays,) = OneCopy([good_image(0)]).__reduce__()
    assert made is OneCopy and (arrays[0] == good_image(0)).all()
