"""The doctor says what is wrong and what to do, and never fails itself."""

import subprocess
import sys
from pathlib import Path

import pytest

from flows import doctor
from flows.plant import Plant


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


def test_the_command_ends_with_one_when_something_is_wrong(plant: Plant) -> None:
    (plant.path / "changeover.yaml").write_text("products: {bolt: {images: nowhere}}\n")
    command = [sys.executable, "-m", "flows.cli", "doctor", "--plant", str(plant.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "images of bolt" in done.stdout and done.stderr.strip() == ""
