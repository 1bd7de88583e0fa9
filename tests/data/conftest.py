"""Small deliveries of good images and throw-away plants, made on the spot."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.batch import BatchFolder
from data.ingest import ingest

Deliver = Callable[..., Path]


def pixels(number: int, height: int = 48, width: int = 64, channels: int = 1) -> np.ndarray:
    """A picture that is unlike every other number's: uint8 (H, W) or (H, W, 3)."""
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng([7, number]).integers(20, 236, shape, dtype=np.uint8)


@pytest.fixture
def deliver(tmp_path: Path) -> Deliver:
    """``deliver(count, folder="delivery", first=0)`` writes ``count`` different grey PNGs and returns the folder."""

    def write(count: int = 14, folder: str = "delivery", first: int = 0, channels: int = 1) -> Path:
        target = tmp_path / folder
        target.mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            Image.fromarray(pixels(number, channels=channels)).save(target / f"part_{number:03d}.png")
        return target

    return write


@pytest.fixture
def folder(tmp_path: Path) -> BatchFolder:
    """The folder of batch ``a`` of product ``bolt`` in an empty plant."""
    return BatchFolder.of(tmp_path / "plant", "bolt", "a")


def git(plant: Path, *arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=plant, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="session")
def empty_plant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git and DVC repository with a local remote and one commit, as a template."""
    plant = tmp_path_factory.mktemp("template") / "plant"
    plant.mkdir()
    git(plant, "init", "--quiet", "--initial-branch=main")
    for arguments in (["init", "--quiet"], ["remote", "add", "--quiet", "--default", "store", "../store"]):
        command = [sys.executable, "-m", "dvc", *arguments]
        subprocess.run(command, cwd=plant, check=True, capture_output=True, env={**os.environ, "DVC_NO_ANALYTICS": "1"})
    (plant / ".gitignore").write_text("/.changeover/\n.work/\n")
    git(plant, "add", ".")
    git(plant, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "-m", "start")
    return plant


@pytest.fixture
def plant(empty_plant: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the template on a machine without a git identity."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "home" / ".gitconfig"))
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"):
        monkeypatch.delenv(name, raising=False)
    return Path(shutil.copytree(empty_plant, tmp_path / "plant"))


@pytest.fixture
def batch(plant: Path, deliver: Deliver) -> BatchFolder:
    folder = BatchFolder.of(plant, "bolt", "a")
    ingest(deliver(12), folder, "bolt", "a")
    return folder
