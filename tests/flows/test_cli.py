"""The command line: one line an error, the right exit code, nothing heavy loaded for a question."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flows.cli import app
from flows.plant import Plant

HEAVY = {"torch", "prefect", "mlflow", "pandas", "dvc", "great_expectations", "onnxruntime", "cv2", "optuna", "numpy"}


def changeover(*arguments: object) -> Result:
    """The command line in this process. CHANGEOVER_DEBUG is put back, because ``--debug`` sets it."""
    before = os.environ.get("CHANGEOVER_DEBUG")
    try:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])
    finally:
        os.environ.pop("CHANGEOVER_DEBUG", None)
        if before is not None:
            os.environ["CHANGEOVER_DEBUG"] = before


def the_error(result: Result) -> str:
    """The one line that an error is, checked for form."""
    assert result.exit_code == 2, result.output
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), result.stderr
    assert result.stdout == ""
    return lines[0]


def test_help_loads_nothing_heavy() -> None:
    code = "import sys, flows.cli; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not HEAVY & set(loaded)


def test_what_only_asks_the_servers_loads_nothing_heavy() -> None:
    """``history``, ``sign-off`` and ``inspect`` import no more of the plant than this before they ask."""
    code = "import sys, flows.serving.services, flows.steps.fetch; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not (HEAVY | {"sqlalchemy"}) & set(loaded)


def test_help_names_every_verb() -> None:
    result = changeover("--help")
    assert result.exit_code == 0
    verbs = (
        "init",
        "up",
        "down",
        "status",
        "run",
        "serve",
        "sign-off",
        "promote",
        "history",
        "inspect",
        "doctor",
        "demo",
        "users",
        "audit",
        "teachers",
    )
    assert all(verb in result.stdout for verb in verbs)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["fly"], ["fly", "--help"]),
        (["run"], ["--product", "changeover run --help"]),
        (["run", "--product"], ["--product"]),
        (["run", "--seed", "x", "--product", "p", "--batch", "b"], ["--seed", "x"]),
        (["status", "--colour"], ["--colour", "changeover status --help"]),
    ],
)
def test_a_mistyped_line_is_answered_in_one_line(arguments: list[str], parts: list[str]) -> None:
    error = the_error(changeover(*arguments))
    assert all(part in error for part in parts)


def test_no_plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHANGEOVER_PLANT", raising=False)
    monkeypatch.chdir(tmp_path)
    for verb in (["status"], ["up"], ["serve"], ["history", "--product", "bolt"]):
        assert "no plant at or above" in the_error(changeover(*verb))
    assert "is not a plant" in the_error(changeover("status", "--plant", tmp_path / "nowhere"))


def test_init_twice_and_in_a_foreign_place(tmp_path: Path) -> None:
    assert "is ready; next: cd" in changeover("init", tmp_path / "plant").stdout
    assert changeover("init", tmp_path / "plant").exit_code == 0
    (tmp_path / "photo.png").touch()
    assert "not empty" in the_error(changeover("init", tmp_path))


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"--product": "Bolt M6"}, ["product name 'Bolt M6'", "try 'bolt-m6'"]),
        ({"--product": "../x"}, ["product name '../x'"]),
        ({"--batch": "a..b"}, ["batch name 'a..b'"]),
        ({"--preset": "fast"}, ["preset 'fast'", "quick, standard, thorough"]),
        ({"--budget": "8"}, ["budget '8'", "8m"]),
        ({"--seed": "-1"}, ["seed -1"]),
        ({"--images": "nowhere"}, ["nowhere", "folder"]),
        ({}, ["not up", "changeover up"]),
    ],
)
def test_a_run_that_cannot_start_says_why(plant: Plant, tmp_path: Path, changes: dict[str, str], parts: list[str]) -> None:
    (tmp_path / "images").mkdir()
    options = {"--product": "bolt", "--batch": "b1", "--images": str(tmp_path / "images")} | changes
    error = the_error(changeover("run", *(word for option in options.items() for word in option)))
    assert all(part in error for part in parts), error
    assert not (plant.path / "products").exists()


def test_gates_of_the_plant_are_checked_before_anything_runs(plant: Plant, tmp_path: Path) -> None:
    (plant.path / "changeover.yaml").write_text("gates: {image_auroc: 7}\n")
    error = the_error(changeover("run", "--product", "bolt", "--batch", "b1", "--images", tmp_path))
    assert "image_auroc" in error and "7" in error


def test_unknown_product(plant: Plant, tmp_path: Path) -> None:
    for verb in (
        ["history"],
        ["promote"],
        ["inspect", str(tmp_path)],
        ["sign-off", "--version", "1", "--approve", "--user", "eva"],
    ):
        error = the_error(changeover(*verb, "--product", "bolt"))
        assert "product 'bolt' is not in the plant" in error


def test_nothing_to_inspect(plant: Plant, tmp_path: Path) -> None:
    make_product(plant)
    (tmp_path / "empty").mkdir()
    assert "no images in" in the_error(changeover("inspect", tmp_path / "empty", "--product", "bolt"))


def test_servers_that_are_not_up(plant: Plant, tmp_path: Path) -> None:
    make_product(plant)
    (tmp_path / "images").mkdir()
    (tmp_path / "a.png").touch()
    for verb in (
        ["serve"],
        ["promote", "--product", "bolt"],
        ["history", "--product", "bolt"],
        ["inspect", str(tmp_path / "a.png"), "--product", "bolt"],
        ["request", "--product", "bolt", "--batch", "b", "--images", str(tmp_path / "images")],
    ):
        assert "is not up; start it with 'changeover up'" in the_error(changeover(*verb))


def test_status_without_servers_is_an_answer(plant: Plant) -> None:
    make_product(plant)
    result = changeover("status")
    assert result.exit_code == 0
    assert "mlflow\tdown" in result.stdout and "prefect\tdown" in result.stdout
    found = json.loads(changeover("status", "--json").stdout)
    assert [server["running"] for server in found["servers"]] == [False, False]


def test_down_without_servers(plant: Plant) -> None:
    result = changeover("down")
    assert result.exit_code == 0 and "no server was running" in result.stdout


def test_debug_shows_the_traceback_wherever_it_stands(plant: Plant) -> None:
    for line in (["--debug", "history", "--product", "no"], ["history", "--product", "no", "--debug"]):
        result = changeover(*line)
        assert result.exit_code == 2
        assert "Traceback" in result.stderr and "error: product 'no'" in result.stderr


def test_a_fault_of_ours_is_one_line_too(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.serving.servers.down", lambda *_: 1 / 0)
    result = changeover("down")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "error: ZeroDivisionError: division by zero; this is a fault in Changeover: run again with --debug and report it"
    ]


def test_ctrl_c_is_one_line(tmp_path: Path) -> None:
    code = (
        "import sys, time, flows.serving.servers\n"
        "def wait(*_):\n    print('waiting', flush=True); time.sleep(60)\n"
        "flows.serving.servers.down = wait\n"
        "from flows.cli import app\n"
        "sys.argv = ['changeover', 'down']\napp()\n"
    )
    Plant.init(tmp_path)
    child = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={name: value for name, value in os.environ.items() if name != "CHANGEOVER_PLANT"},
    )  # fmt: skip
    assert child.stdout is not None and child.stdout.readline() == "waiting\n"
    time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=20)
    assert child.returncode == 130
    assert errors.splitlines()[-1] == "error: interrupted; run the same command again to go on from here"
    assert "Traceback" not in errors


def make_product(plant: Plant) -> None:
    """A product of which there is nothing but a line in the settings."""
    (plant.path / "changeover.yaml").write_text("products: {bolt: {preset: quick}}\n")


def test_threads_that_wait_do_not_spin() -> None:
    """It is said before torch is loaded, which reads it once; who says otherwise is heard."""
    code = "import os, sys; from flows.cli import app; app(['--help'], standalone_mode=False)"
    code = f"import atexit, os; atexit.register(lambda: print('policy', os.environ['OMP_WAIT_POLICY'])); {code}"
    clean = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    for said, policy in ((clean, "PASSIVE"), (clean | {"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")):
        done = subprocess.run([sys.executable, "-c", code], env=said, capture_output=True, text=True, check=False)
        assert f"policy {policy}" in done.stdout, done.stderr
