"""The command beside other projects: modules of our rooms' names, in the environment and in the working directory."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from docs.rooms import ROOMS, ROOT
from flows.entry import foreign_rooms
from flows.serving.child_environment import child_environment

FOREIGN = "raise SystemExit('a module of another project was run')\n"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment in which the wheel is installed, and not this checkout."""
    uv = os.environ.get("UV") or shutil.which("uv") or ROOT / ".tools" / "bin" / "uv"
    if not Path(uv).exists():
        pytest.skip("uv is not here to build the wheel")
    place = tmp_path_factory.mktemp("installed")
    build = [str(uv), "build", "--wheel", "--out-dir", str(place / "wheels"), str(ROOT)]
    done = subprocess.run([*build, "--offline"], capture_output=True, text=True, check=False)
    if done.returncode:  # the build back-end is not in the cache
        done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place / "env")], check=True)
    site = next((place / "env").glob("lib/python*/site-packages"))
    with zipfile.ZipFile(next((place / "wheels").glob("*.whl"))) as wheel:
        wheel.extractall(site)
    assert {path.name for path in site.iterdir() if path.is_dir() and "-" not in path.name} >= set(ROOMS)
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")  # what we depend on; this checkout is not in there
    return place / "env" / "bin" / "python"


def call(python: Path, *words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CHANGEOVER", "VIRTUAL"))}
    code = "import sys; sys.path.pop(0); from flows.entry import main; main()"  # a script's folder is not the working directory
    return subprocess.run(
        [str(python), "-c", code, *words],
        cwd=cwd,
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("room", ["data", "models", "registry", "core"])
@pytest.mark.parametrize("kind", ["module", "package"])
def test_another_projects_module_is_named_and_nothing_of_it_is_run(installed: Path, tmp_path: Path, room: str, kind: str) -> None:
    file = tmp_path / "theirs" / (f"{room}.py" if kind == "module" else f"{room}/__init__.py")
    file.parent.mkdir(parents=True)
    file.write_text(FOREIGN)
    done = call(installed, "--help", cwd=tmp_path, PYTHONPATH=str(tmp_path / "theirs"))
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert f"package '{room}' is imported from {file}" in done.stderr and "an environment of its own" in done.stderr


def test_a_folder_of_such_a_name_in_the_working_directory_shadows_nothing(installed: Path, tmp_path: Path) -> None:
    for room in ROOMS:
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text(FOREIGN)
    made = call(installed, "init", "plant", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    for room in ROOMS:
        shutil.copytree(tmp_path / room, tmp_path / "plant" / room)
    shown = call(installed, "settings", cwd=tmp_path / "plant")
    assert shown.returncode == 0 and "recipe.nuisance" in shown.stdout, shown.stderr


@pytest.mark.parametrize("stage", ["data.validate", "data.defects.regenerate", "models.tune"])
def test_a_stage_runs_ours_whatever_lies_in_its_folder(tmp_path: Path, stage: str) -> None:
    for room in ROOMS:
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text(FOREIGN)
    done = subprocess.run(
        [sys.executable, "-m", stage], cwd=tmp_path, env=child_environment({}), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and done.stderr.startswith(f"error: no params.yaml in {tmp_path}"), done.stderr


def test_the_rooms_of_this_checkout_are_its_own() -> None:
    assert foreign_rooms() == []
