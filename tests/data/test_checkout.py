"""A batch as it was at a commit, beside a plant that notices nothing."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from core.errors import BadBatch, ChangeoverError
from data.batch import BatchFolder
from data.checkout import checked_out, commit_facts, file_at, pull_images
from data.ingest import ingest
from data.version import plant_commit, version_batch
from tests.data.conftest import git, pixels


@pytest.fixture(scope="module")
def versioned(empty_plant: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plant with one batch in git and its store, and nothing of the images anywhere else: a template."""
    plant = Path(shutil.copytree(empty_plant, tmp_path_factory.mktemp("versioned") / "plant"))
    source = tmp_path_factory.mktemp("delivery")
    for number in range(12):
        Image.fromarray(pixels(number)).save(source / f"part_{number:03d}.png")
    folder = BatchFolder.of(plant, "bolt", "a")
    ingest(source, folder, "bolt", "a")
    version_batch(plant, folder)
    shutil.rmtree(folder.good)
    shutil.rmtree(plant / ".dvc" / "cache")
    return plant


@pytest.fixture
def plant(versioned: Path, tmp_path: Path) -> Path:
    shutil.copytree(versioned.parent / "store", tmp_path / "store")
    return Path(shutil.copytree(versioned, tmp_path / "plant"))


@pytest.fixture
def commit(plant: Path) -> str:
    return plant_commit(plant)


def untouched(plant: Path) -> bool:
    left = list((plant / ".changeover" / "rebuild").iterdir())
    return not left and len(git(plant, "worktree", "list").splitlines()) == 1 and not (plant / ".dvc" / "cache").exists()


def test_images_come_from_the_store(plant: Path, commit: str) -> None:
    (plant / ".gitignore").write_text("# being edited\n")
    with checked_out(plant, commit, "bolt", "a") as folder:
        pull_images(folder)
        assert plant not in folder.path.parents or ".changeover" in folder.path.parts
        assert {file.name for file in folder.good.iterdir()} == {image.name for image in folder.read_record().images}
    assert untouched(plant) and (plant / ".gitignore").read_text() == "# being edited\n"
    assert git(plant, "rev-parse", "--abbrev-ref", "HEAD") == "main"


def test_the_store_of_today_counts(plant: Path, commit: str, tmp_path: Path) -> None:
    """The commit names a store that has moved since; where it is now stands in .dvc/config.local."""
    (tmp_path / "store").rename(tmp_path / "moved")
    with (
        checked_out(plant, commit, "bolt", "a") as folder,
        pytest.raises(ChangeoverError, match=r"has lost the list of files of good/"),
    ):
        pull_images(folder)
    (plant / ".dvc" / "config.local").write_text("['remote \"store\"']\n    url = ../../moved\n")
    with checked_out(plant, commit, "bolt", "a") as folder:
        pull_images(folder)
        settings = folder.path.parents[2] / ".dvc" / "config.local"
        assert settings.stat().st_mode & 0o077 == 0
    assert untouched(plant)


def test_other_images_are_refused(plant: Path, commit: str) -> None:
    with checked_out(plant, commit, "bolt", "a") as folder:
        record = folder.read_record()
        changed = record.images[0].model_copy(update={"sha256": "0" * 64})
        folder.write_record(record.model_copy(update={"images": (changed, *record.images[1:])}))
        with pytest.raises(BadBatch, match="contradicts itself"):
            pull_images(folder)


def test_nothing_is_left_whatever_happens(plant: Path, commit: str) -> None:
    with pytest.raises(KeyboardInterrupt), checked_out(plant, commit, "bolt", "a"):
        raise KeyboardInterrupt
    assert untouched(plant)
    # One that was killed: its tree stays until the next.
    dead = plant / ".changeover" / "rebuild" / "dead" / "plant"
    git(plant, "worktree", "add", "--quiet", "--detach", str(dead), commit)
    with checked_out(plant, commit, "bolt", "a") as folder:
        assert not dead.exists() and folder.file("batch.yaml").exists()
    assert untouched(plant)


def test_no_such_commit(plant: Path) -> None:
    for name in ("0" * 40, "--help", "", "main:products"):
        with pytest.raises(ChangeoverError, match="is not in the git history"), checked_out(plant, name, "bolt", "a"):
            pass
        assert file_at(plant, name, "bolt", "a", "batch.yaml") is None and commit_facts(plant, name, "bolt/x").made == ""


def test_no_such_batch(plant: Path, commit: str) -> None:
    with pytest.raises(BadBatch, match="holds no batch bolt/b"), checked_out(plant, commit, "bolt", "b"):
        pass
    assert untouched(plant)


def test_facts_without_a_checkout(plant: Path, commit: str) -> None:
    facts = commit_facts(plant, commit, "bolt/a")
    assert facts.tag == f"bolt/a at {commit[:10]}" and ", 20" in facts.made
    assert "digest:" in (file_at(plant, commit, "bolt", "a", "batch.yaml") or "")
