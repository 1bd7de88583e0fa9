"""A plant and a version that an older Changeover made: today's code shows, signs, promotes, inspects and rebuilds it."""

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.rooms import ROOT
from flows.plant import Plant
from flows.serving.servers import free_port
from flows.serving.services import connect_as, connect_as_person
from registry.client.users import add_user, change_password
from registry.client.versions import versions
from tests.flows.conftest import LENIENT
from tests.flows.test_changeover import PASSWORD, changeover
from tests.small_sample import write_small_sample

OLD = "1408f86"
"""The last commit before the rooms: another place for most modules, subset ``lock``, settings in ``params.yaml`` alone."""
PRODUCT = "plate"


def old_code() -> bytes | None:
    """The code of ``OLD`` as a tar archive; None where this checkout has no such history."""
    done = subprocess.run(["/usr/bin/env", "git", "archive", OLD], cwd=ROOT, capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None


pytestmark = [
    pytest.mark.servers,
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("CHANGEOVER_LONG_TESTS"), reason="takes minutes: CHANGEOVER_LONG_TESTS=1 make test"),
    pytest.mark.skipif(old_code() is None, reason=f"this checkout has no commit {OLD}: clone with the whole history"),
]


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old-code")
    archive = old_code()
    assert archive is not None
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    write_small_sample(folder, 40, 4, 1)
    return folder


@pytest.fixture(scope="module")
def old_plant(code: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """Made, trained and stopped by the old code, then started by today's."""
    path = tmp_path_factory.mktemp("old") / "plant"

    def old(*words: object) -> None:
        environment = {
            **os.environ, "PYTHONPATH": str(code), "CHANGEOVER_PLANT": str(path), "CHANGEOVER_HOST_LOCK": str(code / "host.lock"),
        }  # fmt: skip
        program = "from flows.cli import app; app()"
        done = subprocess.run(
            [sys.executable, "-c", program, *map(str, words)],
            cwd=code, env=environment, capture_output=True, text=True, timeout=560, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    old("init", path)
    ports = [free_port(27100 + os.getpid() % 5000)]
    ports.append(free_port(ports[0] + 1))
    lines = (f"servers: {{mlflow_port: {ports[0]}, prefect_port: {ports[1]}}}", "preset: quick", f"gates: {LENIENT}")
    (path / "changeover.yaml").write_text("\n".join(lines) + "\n")
    (path / "products" / PRODUCT).mkdir(parents=True)
    (path / "products" / PRODUCT / "product.yaml").write_text("region: {left: 0.05}\n")
    plant = Plant.open(path)
    try:
        old("up")
        old("run", "--product", PRODUCT, "--batch", "b1", "--images", images / "good", "--budget", "10s")
        old("down")
        changeover(plant, "up")
        yield plant
    finally:
        changeover(plant, "down")


def test_a_version_of_an_older_plant_works_as_before(old_plant: Plant, images: Path) -> None:
    assert '"lock"' in (old_plant.batch(PRODUCT, "b1").path / "split.json").read_text(), "this is no older plant"
    assert f"{PRODUCT}" in changeover(old_plant, "status").stdout
    told = json.loads(changeover(old_plant, "lineage", PRODUCT, 1, "--json").stdout)
    facts = [fact for box in told["boxes"].values() for fact in box["facts"].values()]
    assert facts and "not on record" not in facts

    # Asked for again, it is the version that is there.
    again = changeover(
        old_plant, "run", "--product", PRODUCT, "--batch", "b1", "--images", images / "good", "--budget", "10s", "--json"
    )
    assert json.loads(again.stdout)["version"] == "1" and "nothing is trained" in again.stderr
    assert len(versions(connect_as(old_plant, "trainer"), PRODUCT)) == 1

    add_user(connect_as(old_plant, "admin"), "eva", "first horse battery", "qa")
    change_password(connect_as_person(old_plant, "eva", "first horse battery"), PASSWORD)
    changeover(old_plant, "sign-off", "--product", PRODUCT, "--version", 1, "--user", "eva", "--approve", "--reason", "looked at")
    changeover(old_plant, "promote", "--product", PRODUCT)
    rows = json.loads(changeover(old_plant, "inspect", images / "defect", "--product", PRODUCT, "--json").stdout)["images"]
    assert len(rows) == 4 and {row["verdict"] for row in rows} <= {"pass", "reject"}

    rebuilt = json.loads(changeover(old_plant, "rebuild", PRODUCT, 1, "--json").stdout)
    assert rebuilt["outcome"] in ("identical", "within tolerance"), rebuilt
    assert rebuilt["explained"], "the code is another, and the answer says so"
    assert changeover(old_plant, "audit", "verify").stdout.startswith("the trail holds")
