"""The doctor says what is wrong and what to do, and never fails itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.errors import PlantError
from flows.plant import Plant
from flows.serving import servers
from flows.serving.prefect_password import password_file, prefect_password
from flows.serving.serve_state import serve_state
from flows.serving.services import connect_as
from flows.steps.job import make_job
from flows.upkeep import doctor
from flows.upkeep.status import read_status
from registry.client.flags import put_back_aliases


def found(plant: Path | None) -> dict[str, doctor.Finding]:
    return {finding.what: finding for finding in doctor.examine(plant)}


def test_a_plant_with_servers_down(plant: Plant) -> None:
    (plant.path / "changeover.yaml").write_text("products: {bolt: {images: nowhere}}\n")
    seen = found(plant.path)
    assert all(seen[name].state == "ok" for name in ("python", "torch", "mlflow", "prefect", "dvc", "git", "plant", "storage"))
    assert seen["mlflow"].state == "ok" and seen["mlflow server"].fix == "start it with 'changeover up'"
    assert seen["images of bolt"].state == "error" and "changeover.yaml" in seen["images of bolt"].fix
    assert all(finding.fix for finding in seen.values() if finding.state != "ok")


def test_no_plant_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHANGEOVER_PLANT", raising=False)
    monkeypatch.chdir(tmp_path)
    assert found(None)["plant"].state == "warning" and "changeover init" in found(None)["plant"].fix


def test_a_full_disk_and_an_old_library_are_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LOW_DISK", 1e30)
    monkeypatch.setattr(doctor, "TESTED", {"torch": "99.0", "no-such-library": "1"})
    seen = found(plant.path)
    assert seen["disk"].state == "warning" and "free some space" in seen["disk"].fix
    assert seen["torch"].state == "error" and "needs 99.0" in seen["torch"].fix
    assert seen["no-such-library"].found == "missing"


@pytest.mark.parametrize("variable", ["HOME", "XDG_CACHE_HOME", "CHANGEOVER_HOST_LOCK"])
def test_a_home_that_cannot_be_written_is_found_before_a_run(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    for name in ("XDG_CACHE_HOME", "CHANGEOVER_HOST_LOCK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "/proc/none")  # nobody writes there, not even root
    seen = found(plant.path)["cache folder"]
    assert seen.state == "error" and f"as {variable} says" in seen.found
    assert "set XDG_CACHE_HOME to a folder, or CHANGEOVER_HOST_LOCK to a file" in seen.fix
    with pytest.raises(PlantError, match=f"as {variable} says"):
        make_job(plant, "bolt", "b1", str(tmp_path))
    monkeypatch.setenv("CHANGEOVER_HOST_LOCK", str(tmp_path / "locks" / "gpu0"))
    assert found(plant.path)["cache folder"].state == "ok"
    make_job(plant, "bolt", "b1", str(tmp_path))


def test_the_command_ends_with_one_when_something_is_wrong(plant: Plant) -> None:
    (plant.path / "changeover.yaml").write_text("products: {bolt: {images: nowhere}}\n")
    command = [sys.executable, "-m", "flows.cli", "doctor", "--plant", str(plant.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "images of bolt" in done.stdout and done.stderr.strip() == ""


def test_a_password_that_others_read_is_an_error(plant: Plant) -> None:
    prefect_password(plant)
    password_file(plant).chmod(0o644)
    finding = found(plant.path)["prefect password"]
    assert finding.state == "error" and "can be read by others" in finding.found and "delete" in finding.fix
    assert password_file(plant).read_text() not in finding.found + finding.fix


def test_serve_in_words() -> None:
    lives = serve_state({"serve": {"since": "2026-11-21T06:00:00+00:00", "seen": "2026-11-21T07:00:00+00:00", "lives": True}})
    assert lives.as_text() == "running since 2026-11-21T06:00:00+00:00"
    died = serve_state({"serve": {"since": "2026-11-21T06:00:00+00:00", "seen": "2026-11-21T07:00:00+00:00", "lives": False}})
    assert died.as_text().startswith("not running (last seen 2026-11-21T07:00:00+00:00): what is approved reaches the line")
    for never in ({}, {"serve": None}, {"serve": {"since": None, "seen": None, "lives": False}}):
        assert serve_state(never).as_text().startswith("not running: ") and "changeover promote" in serve_state(never).as_text()


def test_a_store_that_cannot_be_written_is_an_error(plant: Plant) -> None:
    file = plant.path / "taken"
    file.write_text("x")
    (plant.path / ".dvc" / "config.local").write_text(f"['remote \"store\"']\n    url = {file}\n")
    finding = found(plant.path)["storage"]
    assert finding.state == "error" and finding.found.startswith(f"storage {file} cannot be written: ")
    assert finding.fix == "move the file away, or set another storage.remote"


@pytest.mark.servers
@pytest.mark.slow
def test_what_stays_on_the_line_without_serve_is_an_error(plant: Plant) -> None:
    port = servers.free_port(24100 + os.getpid() % 1000)
    (plant.path / "changeover.yaml").write_text(f"servers: {{mlflow_port: {port}}}\nproducts: {{bolt: {{preset: quick}}}}\n")
    here = Plant.open(plant.path)
    (here.publish / "bolt").mkdir(parents=True)
    (here.publish / "bolt" / "current.json").write_text('{"version": "1"}')
    try:
        servers._start(here, "mlflow")
        servers._wait(here, "mlflow", lambda line: None, True)
        seen = found(here.path)
        assert seen["serve"].state == "warning" and "start 'changeover serve'" in seen["serve"].fix
        assert (seen["line of bolt"].state, seen["line of bolt"].found) == (
            "error",
            "the line reads version 1, but the product has no champion",
        )
        status = read_status(here)
        assert status.products[0].published == "1" and "no champion" in status.products[0].parted
        assert status.serve_line().startswith("serve: not running: ")
        assert status.as_json()["serve"] == {"since": None, "seen": None, "lives": False}
        assert status.product_rows()[0][:3] == ("bolt", "none", "1")
        put_back_aliases(connect_as(here, "promoter"), since="2026-11-21T06:00:00+00:00")
        assert read_status(here).serve_line() == "serve: running since 2026-11-21T06:00:00+00:00"
        put_back_aliases(connect_as(here, "promoter"))
        (here.publish / "bolt" / "current.json").unlink()
        assert found(here.path)["line of bolt"].state == "ok"
    finally:
        servers.down(here)
