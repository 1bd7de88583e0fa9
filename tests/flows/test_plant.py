"""Plants: made once, completed when interrupted, never made out of something else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import flows
from core.errors import ChangeoverError
from data.version import commit_files
from flows.errors import PlantError
from flows.plant import SETTINGS, Plant


def git(path: Path, *arguments: str) -> str:
    command = ["/usr/bin/env", "git", *arguments]
    return subprocess.run(command, cwd=path, capture_output=True, text=True, check=True).stdout


def commits(path: Path) -> list[str]:
    return git(path, "log", "--format=%s").splitlines()


def test_a_plant_is_made_once(tmp_path: Path) -> None:
    plant = Plant.init(tmp_path / "plant")
    before = {file: file.read_bytes() for file in sorted(plant.path.rglob("*")) if file.is_file() and ".git" not in file.parts}
    assert commits(plant.path) == ["Set up the plant"]
    assert "url = ../.changeover/store" in (plant.path / ".dvc" / "config").read_text()

    assert Plant.init(plant.path) == plant
    assert commits(plant.path) == ["Set up the plant"]
    assert {file: file.read_bytes() for file in before} == before
    assert git(plant.path, "status", "--porcelain") == ""


def test_an_interrupted_init_is_completed(tmp_path: Path) -> None:
    (tmp_path / SETTINGS).write_text("preset: quick\n")
    assert Plant.init(tmp_path).config.preset == "quick"
    assert commits(tmp_path) == ["Set up the plant"]


def test_the_plant_is_a_repository_of_its_own_inside_another(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    plant = Plant.init(tmp_path / "plant")
    assert (plant.path / ".git").is_dir()


def test_a_changed_remote_is_taken_over(tmp_path: Path) -> None:
    Plant.init(tmp_path)
    (tmp_path / SETTINGS).write_text(f"storage:\n  remote: {tmp_path / 'elsewhere'}\n")
    Plant.init(tmp_path)
    assert "elsewhere" in (tmp_path / ".dvc" / "config").read_text()
    assert commits(tmp_path) == ["Set up the plant"] * 2


def test_foreign_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PlantError, match="own code"):
        Plant.init(Path(flows.__file__).parent.parent)
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(PlantError, match=r"not empty \(it has 'holiday.jpg'\)"):
        Plant.init(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["holiday.jpg"]
    with pytest.raises(PlantError, match="is a file"):
        Plant.init(tmp_path / "holiday.jpg")


def test_a_plant_is_found_from_below_and_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHANGEOVER_PLANT", raising=False)
    plant = Plant.init(tmp_path / "plant")
    deep = plant.path / "products" / "bolt"
    deep.mkdir(parents=True)
    assert Plant.find(deep) == plant
    with pytest.raises(PlantError, match=r"no plant at or above .*changeover init"):
        Plant.find(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHANGEOVER_PLANT", str(plant.path))
    assert Plant.find() == plant
    with pytest.raises(PlantError, match="is not a plant"):
        Plant.open(tmp_path)


def test_an_identity_is_set_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.delenv(f"GIT_{name}_NAME", raising=False)
        monkeypatch.delenv(f"GIT_{name}_EMAIL", raising=False)
    monkeypatch.delenv("EMAIL", raising=False)
    assert commits(Plant.init(tmp_path / "plant").path) == ["Set up the plant"]


def test_settings_of_git_that_are_a_persons_own_do_not_stop_a_plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody types the passphrase of a key at night, and what a person ignores in their own repositories is not the plant's."""
    settings = tmp_path / "gitconfig"
    settings.write_text(
        "[user]\nname = Ana\nemail = ana@plant\nsigningkey = 0000\n[commit]\ngpgsign = true\n[tag]\ngpgsign = true\n"
        f"[gpg]\nprogram = {tmp_path}/no-such-program\n[core]\nexcludesFile = {tmp_path}/ignored\nhooksPath = {tmp_path}/hooks\n"
    )
    (tmp_path / "ignored").write_text("*.yaml\nconfig\n")
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks" / "pre-commit").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "hooks" / "pre-commit").chmod(0o755)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    assert commits(Plant.init(tmp_path / "plant").path) == ["Set up the plant"]


def test_a_plant_of_another_user_is_said_to_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant = Plant.init(tmp_path / "plant").path
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    fix = f"git config --global --add safe.directory {plant}"
    for asked in (lambda: Plant.init(plant), lambda: commit_files(plant, [plant / SETTINGS], "Settings")):
        with pytest.raises(ChangeoverError, match="belongs to another user") as error:
            asked()
        assert f"'{fix}'" in str(error.value) and "\n" not in str(error.value)
    (tmp_path / "gitconfig").write_text(f"[safe]\ndirectory = {plant}\n")
    assert Plant.init(plant).path == plant


def test_a_store_with_an_umlaut_is_the_same_in_every_locale(tmp_path: Path) -> None:
    """DVC itself reads its settings in the encoding of the locale."""
    store = tmp_path / "st\u00f6re"
    (tmp_path / "plant").mkdir()
    (tmp_path / "plant" / SETTINGS).write_text(f"storage:\n  remote: {store}\n", encoding="utf-8")
    code = (
        "import sys; from pathlib import Path; from data.repository import dvc; from data.store import probe_store, push;"
        "from flows.plant import Plant; plant = Plant.init(Path(sys.argv[1])).path; probe_store(plant);"
        "(plant / 'x').write_text('1'); dvc(plant, 'add', 'x'); push(plant, plant, 'x.dvc')"
    )
    locale = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONPATH": str(Path(flows.__file__).parents[1])}
    command = [sys.executable, "-c", code, str(tmp_path / "plant")]
    done = subprocess.run(command, env=os.environ | locale, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sum(path.is_file() for path in store.rglob("*")) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("storage: [", r"changeover.yaml, line \d+ is not readable YAML"),
        ("- a\n- b\n", "holds list, not 'key: value' lines"),
        ("sorage: {}\n", "sorage is not a setting"),
        ("servers: {mlflow_port: 80}\n", r"servers.mlflow_port 80: input should be greater than or equal to 1024"),
        ("preset: fast\n", r"preset 'fast': input should be 'quick'"),
        ("budget: 8\n", r"budget '8' is not a number with s, m or h"),
        ("products: {Bolt: {}}\n", r"product name 'Bolt' is not of the form"),
        ("products: {bolt: {cron: '0 6 * *', images: a}}\n", r"has 4 fields, but needs 5"),
        ("products: {bolt: {cron: '0 6 * * 1'}}\n", r"has a cron line but no folder of images"),
        ("storage: {publish: 's3://line'}\n", r"has to be a folder"),
        ("registry: {database: 'mysql://u@h/n'}\n", r"has to be of the form postgresql://user@host/name"),
        (
            "registry: {database: 'postgresql://u:secret@h/n'}\n",
            r"database: the address holds a password, but this file is kept in git",
        ),
        ("registry: {workers: 0}\n", r"registry.workers 0: input should be greater than or equal to 1"),
        ("audit: {s3: bucket/prefix}\n", r"s3 'bucket/prefix' is not of the form s3://bucket/prefix"),
    ],
)
def test_settings_that_do_not_hold_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / SETTINGS).write_text(text)
    with pytest.raises(PlantError, match=message) as error:
        Plant.init(tmp_path)
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)
    assert not (tmp_path / ".git").exists()
