"""The Prefect server ends while a run is at work: one sentence, at once, and nothing trains on. Then another port counts."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from data.sample.pictures import write_sample
from flows.plant import Plant
from flows.serving.run_record import read_runs
from flows.serving.servers import down, free_port, server_status, up

pytestmark = [pytest.mark.servers, pytest.mark.slow]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    write_sample(folder, 60, 0, 1)
    return folder / "good"


def with_ports(plant: Plant, first: int) -> tuple[Plant, dict[str, int | None]]:
    """The servers up, on ports that the settings ask for, from ``first`` on."""
    mlflow = free_port(first)
    prefect = free_port(mlflow + 1)
    (plant.path / "changeover.yaml").write_text(f"servers: {{mlflow_port: {mlflow}, prefect_port: {prefect}}}\npreset: quick\n")
    plant = Plant.open(plant.path)
    ports: dict[str, int | None] = {name: one.port for name, one in up(plant).items()}
    assert ports == {"mlflow": mlflow, "prefect": prefect}
    return plant, ports


def killed(plant: Plant) -> None:
    mark = server_status(plant)["prefect"].mark
    assert mark is not None
    os.kill(mark.pid, signal.SIGKILL)


def cut_off(plant: Plant, sample: Path, batch: str, end: Callable[[Plant], object]) -> None:
    """Starts a run, ends its server by ``end`` while a stage is at work, and looks at what the operator sees."""
    command = [sys.executable, "-m", "flows.cli", "run", "-p", "bolt", "-b", batch, "-i", str(sample), "--plant", str(plant.path)]
    environment = os.environ | {"CHANGEOVER_HOST_LOCK": str(plant.state / "host.lock")}
    run = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    stage = None
    while stage is None and run.poll() is None:
        stage = next((one.stage for one in read_runs(plant) if one.batch == batch), None)
        time.sleep(0.05)
    assert stage is not None
    end(plant)
    answer, told = run.communicate(timeout=60)
    lines = [line for line in told.splitlines() if not re.match(r"(ingest|validate|version|decide|regenerate|tune)\b", line)]
    assert run.returncode == 2 and answer == ""
    assert len(lines) == 1 and lines[0].startswith(f"error: the Prefect server of {plant.path} ended in the middle of the run")
    assert "start it with 'changeover up', and run the same command again" in lines[0]
    assert not stage.alive() and not psutil.pid_exists(stage.pid)


def test_one_sentence_and_the_port_of_the_settings(plant: Plant, sample: Path) -> None:
    try:
        plant, before = with_ports(plant, 26100 + os.getpid() % 3000)
        cut_off(plant, sample, "a", killed)
        down(plant)
        plant, after = with_ports(plant, 29500 + os.getpid() % 3000)
        assert set(before.values()).isdisjoint(after.values())
        cut_off(plant, sample, "b", down)
    finally:
        down(plant)
