"""Folders that are replaced whole or not at all."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core.files import replacing_folder


def held(folder: Path) -> dict[str, str]:
    """Every file with its text."""
    return {file.relative_to(folder).as_posix(): file.read_text() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """A folder as the last run left it, with DVC's list and a person's notes."""
    for name in ("model", "metrics", ".gitignore", "notes/mine"):
        (tmp_path / "report" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "report" / name).write_text("old")
    return tmp_path / "report"


def test_a_folder_is_replaced_and_what_else_lies_there_stays(report: Path, tmp_path: Path) -> None:
    for text in ("new", "newer"):
        with replacing_folder(report, tmp_path / ".work" / "report") as out:
            (out / "model").write_text(text)
            (out / "metrics").write_text(text)
            assert held(report)["model"] != text
        assert held(report) == {"model": text, "metrics": text, ".gitignore": "old", "notes/mine": "old"}
    assert list((tmp_path / ".work").iterdir()) == []


def test_an_error_leaves_everything_as_it_was(report: Path, tmp_path: Path) -> None:
    before = held(report)
    with pytest.raises(KeyboardInterrupt), replacing_folder(report, tmp_path / ".work" / "report") as out:
        (out / "model").write_text("new")
        raise KeyboardInterrupt
    assert held(report) == before and list((tmp_path / ".work").iterdir()) == []
    with pytest.raises(OSError, match="elsewhere"), replacing_folder(tmp_path / "elsewhere" / "report", tmp_path / "r") as out:
        (out / "model").write_text("new")


@pytest.mark.parametrize("calls", range(6))
def test_a_kill_leaves_the_old_folder_or_the_new_one_or_none(report: Path, tmp_path: Path, calls: int) -> None:
    """Killed before the n-th rename or sync of a file; then it is done again."""
    code = f"""
import os, signal, sys
from pathlib import Path
from core.files import replacing_folder
left = {calls}
def counted(call):
    def instead(*given, **named):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return call(*given, **named)
    return instead
os.fsync, os.rename, Path.rename = counted(os.fsync), counted(os.rename), counted(Path.rename)
with replacing_folder(Path("report"), Path(".work/report")) as out:
    (out / "model").write_text("new")
    (out / "metrics").write_text("new")
"""
    before, after = held(report), {"model": "new", "metrics": "new", ".gitignore": "old", "notes/mine": "old"}
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=False)
    assert done.returncode in (0, -signal.SIGKILL)
    assert held(report) in (before, after, {}) if report.exists() else done.returncode
    with replacing_folder(report, tmp_path / ".work" / "report") as out:
        (out / "model").write_text("new")
    assert held(report) in (after, after | {"metrics": "old"}) and list((tmp_path / ".work").iterdir()) == []
