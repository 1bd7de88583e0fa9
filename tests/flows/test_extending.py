"""What ``docs/extending.md`` says of a new detector, done as it says: one file and one line, and a line inspects with it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from docs.rooms import ROOMS, ROOT
from flows.plant import Plant
from flows.serving.services import connect_as, connect_as_person
from registry.client.users import add_user, change_password
from registry.client.versions import version_of
from tests.small_sample import write_small_sample

pytestmark = pytest.mark.servers
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
PRODUCT, PASSWORD = "extended", "correct horse battery"


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code with the detector of the page, and nothing else changed."""
    code = tmp_path_factory.mktemp("code")
    for room in ROOMS:
        shutil.copytree(ROOT / room, code / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "dvc.yaml", code)
    file, line = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    name = re.match(r"# (\S+)\n", file)
    assert name is not None and not (code / name[1]).exists()
    (code / name[1]).write_text(file)
    assert len(file.splitlines()) <= 40
    catalogue = code / "models" / "detectors" / "catalogue.py"
    head, mark, rest = catalogue.read_text().partition("NETWORKS: dict[str, Network] = {\n")
    catalogue.write_text(head + mark + line + rest)
    return code


def test_a_detector_is_one_file_and_one_line(running: Plant, extended: Path, tmp_path: Path) -> None:
    sample = tmp_path / "images"
    write_small_sample(sample, 30, 4, 1)
    settings = running.path / "products" / PRODUCT / "product.yaml"
    settings.parent.mkdir(parents=True)
    settings.write_text(
        "tune: {detectors: [colour_distance], trials: 2, seconds: 90}\ntrain: {companion: null}\nrecipe: {per_family: 2}\n"
    )
    environment = {
        **os.environ, "PYTHONPATH": str(extended), "CHANGEOVER_PLANT": str(running.path), "CHANGEOVER_PASSWORD": PASSWORD,
    }  # fmt: skip

    def changeover(*words: object) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", *map(str, words)],
            cwd=extended, env=environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    changeover("run", "--product", PRODUCT, "--batch", "b1", "--images", sample / "good")
    batch = running.batch(PRODUCT, "b1")
    trials = json.loads((batch.file("study") / "trials.json").read_text())
    assert len(trials) == 2 and {trial["params"]["detector"] for trial in trials} == {"colour_distance"}
    training = json.loads((batch.file("model") / "training.json").read_text())
    assert [(log["detector"], log["settings"]) for log in training["networks"]] == [("colour_distance", {"side": 5})]
    assert version_of(connect_as(running, "trainer"), PRODUCT, "1").gates == "passed"

    add_user(connect_as(running, "admin"), "extender", "first horse battery", "qa")
    change_password(connect_as_person(running, "extender", "first horse battery"), PASSWORD)
    words = ("--product", PRODUCT, "--version", "1", "--user", "extender", "--reason", "looked at", "--approve")
    changeover("sign-off", *words)
    changeover("promote", "--product", PRODUCT)
    assert "0 could not be inspected" in changeover("inspect", sample / "good", "--product", PRODUCT)
