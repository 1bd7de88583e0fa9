"""Stages run through DVC: skipped when nothing changed, told in one line when they fail, ended when we are interrupted."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from core.errors import ChangeoverError
from data.batch import BatchFolder
from data.store import push
from flows.errors import StageError
from flows.plant import Plant
from flows.serving.processes import ProcessMark
from flows.stages import repro, when_free

SAYS = "from pathlib import Path; Path('out').write_text(Path('in').read_text()); print('copied 1 file')"
FAILS = "import sys; print('error: crop 100 is no multiple of 32; take 96', file=sys.stderr); sys.exit(2)"
RAISES = "raise ValueError('no such thing')"
SLEEPS = "from pathlib import Path; import os, time; Path('pid').write_text(str(os.getpid())); time.sleep(60)"


@pytest.fixture
def folder(plant: Plant) -> BatchFolder:
    """A batch with four small stages."""
    made = plant.batch("bolt", "b1")
    made.path.mkdir(parents=True)
    made.file("in").write_text("1")
    for name, code in (("says", SAYS), ("fails", FAILS), ("raises", RAISES), ("sleeps", SLEEPS)):
        made.file(f"{name}.py").write_text(code)
    stages = {name: {"cmd": f"python {name}.py", "deps": ["in"]} for name in ("says", "fails", "raises", "sleeps")}
    stages["says"]["outs"] = ["out"]
    made.file("dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    return made


def nothing(_: ProcessMark | None) -> None:
    """For whom the process does not matter."""


def test_a_stage_runs_once_and_again_when_its_input_changes(folder: BatchFolder, tmp_path: Path) -> None:
    log = tmp_path / "logs" / "says.log"
    marks: list[ProcessMark | None] = []
    first = repro(folder, "says", log, marks.append)
    assert (first.skipped, first.fact) == (False, "copied 1 file")
    assert marks[0] is not None and marks[1] is None and not marks[0].alive()
    assert repro(folder, "says", log, nothing).skipped
    folder.file("in").write_text("2")
    assert not repro(folder, "says", log, nothing).skipped
    assert folder.file("out").read_text() == "2"
    assert log.read_text().count("copied 1 file") == 2

    push(folder.path.parents[2], folder.path, "dvc.yaml")
    assert list((folder.path.parents[2] / ".changeover" / "store").rglob("*"))


def test_the_error_line_of_a_stage_is_the_error(folder: BatchFolder, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"^crop 100 is no multiple of 32; take 96$"):
        repro(folder, "fails", tmp_path / "log", nothing)


def test_a_fault_of_a_stage_is_one_line_with_the_log(folder: BatchFolder, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"stage raises ended with exit code \d+: ValueError: no such thing; see .*log") as error:
        repro(folder, "raises", tmp_path / "log", nothing)
    assert "\n" not in str(error.value)
    assert "Traceback" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing_running(folder: BatchFolder, tmp_path: Path, number: signal.Signals) -> None:
    code = (
        "import signal, sys; from pathlib import Path; from data.batch import BatchFolder; from flows.stages import repro\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))\n"  # as Prefect's engine does
        "repro(BatchFolder(Path(sys.argv[1])), 'sleeps', Path(sys.argv[2]), lambda mark: None)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, folder.path, tmp_path / "log"], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not folder.file("pid").exists() or not folder.file("pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    sleeper = psutil.Process(int(folder.file("pid").read_text()))
    child.send_signal(number)
    child.wait(20)
    assert not sleeper.is_running()


def test_dvc_that_is_busy_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.stages.time.sleep", lambda _: None)
    answers = iter([ChangeoverError("'dvc add' failed: ERROR: Unable to acquire lock. Most likely …"), None])

    def work() -> str:
        error = next(answers)
        if error:
            raise error
        return "done"

    assert when_free(work) == "done"
    with pytest.raises(ChangeoverError, match="no space"):
        when_free(lambda: (_ for _ in ()).throw(ChangeoverError("no space")))


def test_two_batches_at_once_do_not_trip_over_each_other(plant: Plant, folder: BatchFolder, tmp_path: Path) -> None:
    import shutil
    import threading

    folders = [folder]
    for number in range(3):
        shutil.copytree(folder.path, folder.path.with_name(f"c{number}"))
        folders.append(plant.batch("bolt", f"c{number}"))
    failed: list[BaseException] = []

    def work(one: BatchFolder) -> None:
        try:
            repro(one, "says", tmp_path / f"{one.path.name}.log", nothing)
        except BaseException as error:  # noqa: BLE001  # threads swallow what they raise
            failed.append(error)

    threads = [threading.Thread(target=work, args=(one,)) for one in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert all(one.file("out").exists() for one in folders)
