"""Plants for tests: one bare, one with both servers up for all tests of this folder."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.plant import Plant
from flows.servers import down, free_port, up


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


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """A plant with both servers up, on ports that were free."""
    path = tmp_path_factory.mktemp("running") / "plant"
    Plant.init(path)
    mlflow = free_port(20100)
    prefect = free_port(mlflow + 1)
    (path / "changeover.yaml").write_text(f"servers: {{mlflow_port: {mlflow}, prefect_port: {prefect}}}\npreset: quick\n")
    made = Plant.open(path)
    try:
        up(made)
        yield made
    finally:
        down(made)
