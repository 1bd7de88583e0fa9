"""The two servers: started once, on ports that are free, ended whole, and nobody else's processes touched."""

import json
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import psutil
import pytest

from flows.errors import ServerError
from flows.plant import Plant
from flows.serving import servers
from flows.serving.child_environment import child_environment
from flows.serving.processes import ProcessMark


def answers(server: servers.Server) -> bool:
    return httpx.get(f"{server.url}{servers.HEALTH[server.name]}", trust_env=False).status_code == 200


def wants(plant: Plant, mlflow: int, prefect: int) -> Plant:
    (plant.path / "changeover.yaml").write_text(f"servers: {{mlflow_port: {mlflow}, prefect_port: {prefect}}}\n")
    return Plant.open(plant.path)


@pytest.mark.servers
@pytest.mark.slow
def test_the_life_of_two_servers(plant: Plant) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        taken = squatter.getsockname()[1]
        plant = wants(plant, taken, taken)
        try:
            # Two at once start each server once, beside the port that is taken.
            results: list[dict[str, servers.Server]] = []
            threads = [threading.Thread(target=lambda: results.append(servers.up(plant))) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(results) == 2 and results[0] == results[1]
            first = servers.server_status(plant)
            assert all(answers(server) for server in first.values())
            assert taken not in {server.port for server in first.values()}
            assert len({server.port for server in first.values()}) == 2
            assert servers.address(plant, "mlflow") == first["mlflow"].url
            listening = {c.laddr.ip for s in first.values() if s.mark for c in psutil.Process(s.mark.pid).net_connections("tcp")}
            assert listening <= {"127.0.0.1"}

            # Again: nothing is started, and it is quick.
            assert servers.up(plant) == first

            # One of them dies: up starts that one alone, at the address that people know.
            assert first["prefect"].mark
            psutil.Process(first["prefect"].mark.pid).kill()
            second = servers.up(plant)
            assert second["mlflow"] == first["mlflow"]
            assert second["prefect"].port == first["prefect"].port and second["prefect"].mark != first["prefect"].mark

            # A copy of the plant's folder has no servers, and ends none.
            copy = Plant.open(Path(shutil.copytree(plant.path, plant.path.with_name("copy"), ignore_dangling_symlinks=True)))
            assert not any(server.running for server in servers.server_status(copy).values())
            assert servers.down(copy) == []
            assert all(answers(server) for server in servers.server_status(plant).values())

            family = [child for s in second.values() if s.mark for child in psutil.Process(s.mark.pid).children(recursive=True)]
            assert sorted(servers.down(plant)) == ["mlflow", "prefect"]
            assert not any(child.is_running() for child in family)
            assert not any(server.running for server in servers.server_status(plant).values())
            assert servers.down(plant) == []
            kept = json.loads((plant.state / "servers.json").read_text())
            assert {one["wanted"] for one in kept.values()} == {taken}, "another port in the settings counts at the next start"
            with pytest.raises(ServerError, match="is not up; start it with 'changeover up'"):
                servers.address(plant, "mlflow")
        finally:
            servers.down(plant)


def test_a_recycled_number_is_no_server_and_is_not_ended(plant: Plant) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        mark = ProcessMark.of(stranger.pid)
        record = {"pid": mark.pid, "started": mark.started - 500, "port": 5000, "wanted": 5000}
        plant.state.mkdir(exist_ok=True)
        (plant.state / "servers.json").write_text(json.dumps({"mlflow": record}))
        assert not servers.server_status(plant)["mlflow"].running
        assert servers.down(plant) == []
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait(5)


def test_a_server_that_fails_is_told_with_its_last_words(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-c", "print('first'); raise SystemExit('no database at sqlite:///x')"]
    monkeypatch.setattr(servers, "_command", lambda *_: (command, child_environment({})))
    with pytest.raises(
        ServerError, match=r"ended while starting: .*no database at sqlite:///x; the whole log is .*\.log"
    ) as error:
        servers.up(plant)
    assert "\n" not in str(error.value)
    servers.down(plant)


def test_a_server_that_never_answers_is_ended(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-c", "import time; print('thinking', flush=True); time.sleep(60)"]
    monkeypatch.setattr(servers, "_command", lambda *_: (command, child_environment({})))
    monkeypatch.setattr(servers, "START_SECONDS", 1.0)
    with pytest.raises(ServerError, match=r"did not answer within 1 seconds: thinking"):
        servers.up(plant)
    assert not servers.server_status(plant)["mlflow"].running
    servers.down(plant)


def test_a_damaged_record_is_no_record(plant: Plant) -> None:
    plant.state.mkdir(exist_ok=True)
    (plant.state / "servers.json").write_text("{")
    assert not any(server.running for server in servers.server_status(plant).values())


def test_ports() -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()
        port = one.getsockname()[1]
        assert servers.free_port(port) > port
    assert servers.free_port(port, frozenset({port})) > port


def test_children_get_no_settings_of_other_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("PREFECT_API_URL", "http://elsewhere")
    environment = child_environment({"X": "y"})
    assert not {"PYTHONDONTWRITEBYTECODE", "PREFECT_API_URL"} & set(environment)
    assert environment["X"] == "y" and environment["DO_NOT_TRACK"] == "true"
    assert environment["PATH"].startswith(str(Path(sys.executable).parent))
