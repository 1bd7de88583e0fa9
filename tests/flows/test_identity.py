"""Which plant a folder is: a copy is found out wherever it lies, a moved plant stays itself, and adoption is asked for once."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from flows.errors import CopiedPlant, PlantError
from flows.plant import Plant
from flows.serve import serve
from flows.serving import identity, servers
from flows.serving.identity import PLANT_ID, PLANT_PATH, copied, identity_of, settled
from flows.serving.processes import ProcessMark
from flows.upkeep.adopt import adopt
from flows.upkeep.doctor import examine
from flows.upkeep.status import read_status

from .test_cli import changeover, the_error


@pytest.fixture
def known(plant: Plant) -> Plant:
    """A plant that was up once."""
    settled(plant)
    return plant


def copy_of(plant: Plant, name: str = "copy") -> Plant:
    target = plant.path.with_name(name)
    subprocess.run(["/usr/bin/env", "cp", "-a", plant.path, target], check=True)
    return Plant.open(target)


def moved(plant: Plant, name: str) -> Plant:
    return Plant.open(plant.path.rename(plant.path.with_name(name)))


@contextmanager
def a_server(plant: Plant, **more: str) -> Iterator[ProcessMark]:
    """A process on record as the plant's MLflow server, started as one is."""
    known = settled(plant)
    environment = os.environ | {PLANT_ID: known.id, PLANT_PATH: str(plant.path)} | more
    command = [sys.executable, "-c", "import time; time.sleep(120)"]
    with subprocess.Popen(command, cwd=plant.state, env=environment, start_new_session=True) as process:
        try:
            mark = ProcessMark.of(process.pid)
            record = {"pid": mark.pid, "started": mark.started, "port": 5000, "wanted": 5000, "plant": str(plant.path)}
            (plant.state / "servers.json").write_text(json.dumps({"mlflow": record | {"id": known.id}}))
            yield mark
        finally:
            process.kill()


def test_before_it_was_ever_up_a_plant_is_no_copy(plant: Plant) -> None:
    assert identity_of(plant) is None and copied(copy_of(plant)) == ""
    first = settled(plant)
    assert settled(plant) == first == identity_of(plant) and copied(plant) == ""


def test_a_copy_says_so_and_starts_nothing(known: Plant) -> None:
    copy = copy_of(known)
    said = f"{copy.path} is a copy of the plant at {known.path}"
    assert copied(known) == "" and copied(copy) == said
    for verb in (servers.up, lambda plant: servers.address(plant, "mlflow"), lambda plant: serve(plant, print)):
        with pytest.raises(CopiedPlant, match="run 'changeover adopt'"):
            verb(copy)
    for verb in (("up",), ("serve",), ("users", "list"), ("run", "-p", "bolt", "-b", "b1", "-i", copy.path)):
        assert said in the_error(changeover(*verb, "--plant", copy.path))
    assert changeover("down", "--plant", copy.path).stdout == "no server was running\n"
    assert read_status(copy).copy == said and said in changeover("status", "--plant", copy.path).stdout
    assert (examine(copy.path)[-1].state, examine(copy.path)[-1].found) == ("error", said)
    assert not (copy.path / "published").exists() and identity_of(copy) == identity_of(known)


def test_servers_of_the_original_are_none_of_a_copy(known: Plant) -> None:
    with a_server(known) as mark:
        copy = copy_of(known)
        assert not servers.server_status(copy)["mlflow"].running and servers.down(copy) == []
        done = adopt(copy, original_is_gone=False)
        assert done is not None and done.remarks == ()
        assert not servers.server_status(copy)["mlflow"].running and servers.down(copy) == []
        assert mark.alive() and servers.server_status(known)["mlflow"].running
        # Not even where its record is put back by hand, and names the copy.
        whole = json.loads((known.state / "servers.json").read_text())["mlflow"]
        (copy.state / "servers.json").write_text(json.dumps({"mlflow": whole | {"id": done.id, "plant": str(copy.path)}}))
        assert not servers.server_status(copy)["mlflow"].running and servers.down(copy) == []
        assert mark.alive() and servers.down(known) == ["mlflow"] and not mark.alive()


@pytest.mark.parametrize("gone", [psutil.NoSuchProcess(1), psutil.ZombieProcess(1), FileNotFoundError(2, "gone")])
def test_a_server_that_is_just_dying_is_still_ours(known: Plant, monkeypatch: pytest.MonkeyPatch, gone: Exception) -> None:
    """It has no folder any more and is no zombie yet. Taken for a stranger, what it leaves behind would keep its port."""

    def cwd(process: psutil.Process) -> str:
        raise gone

    with a_server(known) as mark:
        monkeypatch.setattr(psutil.Process, "cwd", cwd)
        assert servers.server_status(known)["mlflow"].mark == mark
        monkeypatch.undo()
        monkeypatch.setattr(psutil.Process, "cwd", lambda process: "/")
        assert servers.server_status(known)["mlflow"].mark is None


def test_a_moved_plant_is_itself_and_ends_what_it_left_running(known: Plant) -> None:
    first = settled(known)
    with a_server(known) as mark:
        there = moved(known, "elsewhere")
        assert copied(there) == "" and adopt(there, original_is_gone=False) is None
        # Its databases are not where the server looks for them: not running, but ours to end.
        assert not servers.server_status(there)["mlflow"].running and mark.alive()
        assert servers.down(there) == ["mlflow"] and not mark.alive()
    assert settled(there).id == first.id and settled(there).home == str(there.path)


def test_another_spelling_of_the_path_is_the_same_plant(known: Plant, tmp_path: Path) -> None:
    with a_server(known):
        (tmp_path / "link").symlink_to(known.path)
        for path in (tmp_path / "link", known.path / ".." / "plant", Path(f"{known.path}/./")):
            assert servers.server_status(Plant.open(path))["mlflow"].running


def test_a_mount_of_the_same_folder_is_the_same_plant(known: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a bind mount shows it: another path, the same folder, which is still at the first path as well."""
    mounted = replace(known, path=known.path.with_name("mounted"))
    mounted.path.mkdir()
    real = Path.stat

    def stat(path: Path, **options: bool) -> os.stat_result:
        return real(Path(str(path).replace(str(mounted.path), str(known.path))), **options)

    monkeypatch.setattr(Path, "stat", stat)
    assert copied(mounted) == "" and copied(known) == ""


def test_two_plants_that_swap_names_are_both_asked_about(known: Plant) -> None:
    other = copy_of(known, "other")
    adopt(other, original_is_gone=False)
    path = known.path
    moved(known, "third")
    moved(other, "plant")
    first, second = Plant.open(path), Plant.open(path.with_name("third"))
    assert copied(second) == f"{second.path} is a copy of the plant at {path}"
    assert copied(first) == ""  # it was moved, and nothing is left at its former place
    moved(second, "other")
    assert copied(Plant.open(path.with_name("other"))) == f"{path.with_name('other')} is a copy of the plant at {path}"


@pytest.mark.parametrize("change", [{"inode": 1}, {"inode": 1, "device": 1}, {"machine": "0123456789abcdef"}])
def test_the_same_path_on_another_machine_is_a_copy(known: Plant, change: dict[str, object]) -> None:
    there = identity_of(known)
    assert there and there.place
    identity.write_identity(known, replace(there, place=replace(there.place, **change)))
    if not (there.place.machine or "machine" not in change):
        pytest.skip("this machine has no id")
    assert "is a copy" in copied(known)


def test_another_device_number_after_a_restart_is_the_same_plant(known: Plant) -> None:
    there = identity_of(known)
    assert there and there.place
    identity.write_identity(known, replace(there, place=replace(there.place, device=1)))
    assert copied(known) == "" and settled(known) == there


def test_adoption_makes_another_plant_and_asks_about_what_both_write_to(known: Plant, tmp_path: Path) -> None:
    line = tmp_path / "line"
    (known.path / "changeover.yaml").write_text(f"storage: {{publish: {line}}}\n")
    known = Plant.open(known.path)
    settled(known)
    copy = copy_of(known)
    with pytest.raises(PlantError, match=f"both would write to storage.publish {line}; give the copy its own"):
        adopt(copy, original_is_gone=False)
    assert "is a copy" in copied(copy)
    (copy.path / "changeover.yaml").write_text("")
    copy = Plant.open(copy.path)
    (copy.state / "runs").mkdir()
    done = adopt(copy, original_is_gone=False)
    assert done and done.id != settled(known).id and copied(copy) == "" and copied(known) == ""
    assert not (copy.state / "runs").exists() and adopt(copy, original_is_gone=False) is None
    told = identity_of(copy)
    assert told and settled(known).id in told.adopted and "by os:" in told.adopted


def test_the_original_is_gone(known: Plant, tmp_path: Path) -> None:
    (known.path / "changeover.yaml").write_text(f"storage: {{publish: {tmp_path / 'line'}}}\n")
    settled(Plant.open(known.path))
    copy = copy_of(Plant.open(known.path))
    shutil.rmtree(known.path)
    assert "both would write" in the_error(changeover("adopt", "--plant", copy.path))
    assert changeover("adopt", "--original-is-gone", "--plant", copy.path).exit_code == 0
    assert changeover("adopt", "--plant", copy.path).stdout.endswith("is no copy; nothing was changed\n")


def test_a_clone_of_the_repository_takes_nothing_from_the_line(known: Plant, tmp_path: Path) -> None:
    """It has the settings, and no registry: every product would be retracted."""
    line = tmp_path / "line"
    (line / "bolt").mkdir(parents=True)
    (line / "bolt" / "current.json").write_text("{}")
    (known.path / "changeover.yaml").write_text(f"storage: {{publish: {line}}}\nproducts: {{bolt: {{}}}}\n")
    git = ["/usr/bin/env", "git"]
    subprocess.run([*git, "commit", "--quiet", "--all", "--message", "x"], cwd=known.path, check=True)
    subprocess.run([*git, "clone", "--quiet", known.path, tmp_path / "clone"], check=True)
    error = the_error(changeover("up", "--plant", tmp_path / "clone"))
    assert f"storage.publish {line} is used for its products already" in error
    assert not (tmp_path / "clone" / ".changeover" / "plant.json").exists()
    assert copied(Plant.open(known.path)) == "" and settled(Plant.open(known.path))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"id": 1}', '{"id": "x", "place": {}}', '{"id": null, "place": null}'])
def test_an_identity_that_cannot_be_read_is_told(known: Plant, text: str) -> None:
    (known.state / "plant.json").write_text(text)
    for verb in ("up", "down", "status", "adopt"):
        assert "does not say which plant this is" in the_error(changeover(verb, "--plant", known.path))
    assert examine(known.path)[-1].state == "error"
