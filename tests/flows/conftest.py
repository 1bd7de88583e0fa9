"""Plants for tests: one bare, one with both servers up for all tests of this folder."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.plant import Plant
from flows.serving.servers import down, free_port, up

from ..registry.postgresql import postgresql

__all__ = ["postgresql"]


@pytest.fixture(scope="session")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new plant to copy: making one takes seconds."""
    return Plant.init(tmp_path_factory.mktemp("pattern") / "plant").path


@pytest.fixture
def plant(pattern: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plant:
    """A new plant that the command line finds."""
    shutil.copytree(pattern, tmp_path / "plant")
    monkeypatch.setenv("CHANGEOVER_PLANT", str(tmp_path / "plant"))
    return Plant.open(tmp_path / "plant")


LENIENT = "{image_auroc: 0.5, easy_escape: 1.0, champion_slack: 1.0, parity: 1.0}"
"""Gates that let a model pass which was trained for seconds: here the way is tested, not the model."""


@pytest.fixture(scope="session")
def running(pattern: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """A plant with both servers up, on ports that were free. No name of its folder is ASCII."""
    path = tmp_path_factory.mktemp("running") / "Werk Süd ß" / "線"
    shutil.copytree(pattern, path)
    mlflow = free_port(20100 + os.getpid() % 5000)  # two test runs at once do not fight for the same
    prefect = free_port(mlflow + 1)
    lines = [f"servers: {{mlflow_port: {mlflow}, prefect_port: {prefect}}}", "preset: quick", f"gates: {LENIENT}"]
    lines.append("products: {nightly: {images: empty, cron: '0 6 * * 1'}}")
    (path / "changeover.yaml").write_text("\n".join(lines) + "\n")
    (path / "empty").mkdir()
    made = Plant.open(path)
    try:
        up(made)
        yield made
    finally:
        down(made)
