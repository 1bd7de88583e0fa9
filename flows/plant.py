"""The plant: the workspace of a factory, a git and DVC repository with every product's batches and records."""

import os
from dataclasses import dataclass
from pathlib import Path

from core.errors import ChangeoverError
from core.files import write_text
from data.batch import BatchFolder
from data.dvc_settings import set_remote
from data.repository import dvc, git, try_git
from flows.config import PlantConfig, read_config
from flows.errors import PlantError
from flows.settings_template import TEMPLATE

SETTINGS = "changeover.yaml"
REMOTE = "store"
IGNORED = """\
/.changeover/
/published/
.work/
/products/*/*/champion/model.onnx
/products/*/*/teacher/teacher.safetensors
/products/*/*/warm/weights.pt
"""


@dataclass(frozen=True)
class Plant:
    """An existing plant. ``path`` is absolute; ``config`` is its ``changeover.yaml``."""

    path: Path
    config: PlantConfig

    @classmethod
    def open(cls, path: Path) -> "Plant":
        """The plant at exactly ``path``; PlantError if there is none."""
        path = path.expanduser().resolve()
        if not (path / SETTINGS).is_file() or not (path / ".dvc").is_dir():
            raise PlantError(f"{path} is not a plant (it has no {SETTINGS} and .dvc); make one with 'changeover init {path}'")
        return cls(path, read_config(path / SETTINGS))

    @classmethod
    def find(cls, start: Path | None = None) -> "Plant":
        """The plant that ``CHANGEOVER_PLANT`` names, else the nearest one at or above ``start`` (the working directory)."""
        named = os.environ.get("CHANGEOVER_PLANT")
        if start is None and named:
            return cls.open(Path(named))
        start = (start or Path.cwd()).resolve()
        for folder in (start, *start.parents):
            if (folder / SETTINGS).is_file() and (folder / ".dvc").is_dir():
                return cls.open(folder)
        raise PlantError(f"no plant at or above {start}; make one with 'changeover init PATH', or name one with --plant PATH")

    @classmethod
    def init(cls, path: Path) -> "Plant":
        """Make a plant at ``path``, or complete one that is there; running it again changes nothing.

        A plant is always a git repository of its own, even inside another one, because batches are tagged and
        committed by machine. PlantError if the folder already holds something else.
        """
        path = path.expanduser().resolve()
        _refuse_foreign(path)
        path.mkdir(parents=True, exist_ok=True)
        # The settings come first: a folder that has them is ours, so that an interrupted init can be completed.
        if not (path / SETTINGS).exists():
            write_text(path / SETTINGS, TEMPLATE)
        config = read_config(path / SETTINGS)
        try:
            _make_git(path)
            _make_dvc(path, config.storage.remote)
            _commit(path)
        except ChangeoverError as error:
            raise PlantError(str(error)) from error
        return cls.open(path)

    @property
    def state(self) -> Path:
        """Databases, artifacts, logs, locks and server state: git-ignored, but not to be deleted."""
        return self.path / ".changeover"

    @property
    def logs(self) -> Path:
        """Folder of all logs."""
        return self.state / "logs"

    @property
    def publish(self) -> Path:
        """The folder from which the line reads its champions."""
        return self.path / Path(self.config.storage.publish).expanduser()

    def batch(self, product: str, batch: str) -> BatchFolder:
        """The folder of a batch; BadName if a name breaks the rule."""
        return BatchFolder.of(self.path, product, batch)

    def products(self) -> list[str]:
        """Names of the products that have a batch here or a line in the settings, sorted."""
        here = {record.parent.parent.name for record in (self.path / "products").glob("*/*/batch.yaml")}
        return sorted({*here, *self.config.products})


def _refuse_foreign(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise PlantError(f"{path} is a file, but a plant is a folder; choose another path")
    if (path / "flows" / "cli.py").exists():
        raise PlantError(f"{path} is Changeover's own code, not a place for images and models; choose a folder outside of it")
    if path.is_dir() and not (path / SETTINGS).exists():
        foreign = sorted(entry.name for entry in path.iterdir() if entry.name != ".git")
        if foreign:
            raise PlantError(f"{path} is not empty (it has {foreign[0]!r}) and is not a plant; choose an empty or a new folder")


def _make_git(path: Path) -> None:
    if not (path / ".git").exists():
        git(path, "init", "--quiet", "--initial-branch=main")
    git(path, "rev-parse", "--git-dir")  # raises where git refuses to work
    ignore_large_files(path)
    # Batches are committed by scheduled runs too, where nobody has set up an identity.
    if not try_git(path, "config", "user.email"):
        git(path, "config", "user.name", "Changeover")
        git(path, "config", "user.email", "changeover@localhost")


def ignore_large_files(path: Path) -> bool:
    """Complete the plant's ``.gitignore``, which an older version may have written; returns whether anything was missing."""
    ignore = path / ".gitignore"
    lines = ignore.read_text(encoding="utf-8").splitlines() if ignore.exists() else []
    missing = [line for line in IGNORED.splitlines() if line not in lines]
    if missing:
        write_text(ignore, "".join(f"{line}\n" for line in (*lines, *missing)))
    return bool(missing)


def _make_dvc(path: Path, remote: str) -> None:
    if not (path / ".dvc" / "config").exists():
        # --force completes an init that was interrupted; there is no cache yet that it could lose.
        dvc(path, "init", "--force")  # without --quiet, which swallows the reason of a failure
        dvc(path, "config", "core.analytics", "false")
    folder = Path(remote).expanduser()
    # DVC reads a folder as seen from its settings; an absolute one stays where it is when the plant is moved.
    inside = str(folder) if folder.is_absolute() else os.path.relpath(path / folder, path / ".dvc")
    set_remote(path / ".dvc" / "config", REMOTE, remote if "://" in remote else inside)


def _commit(path: Path) -> None:
    files = (SETTINGS, ".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore")
    git(path, "add", "--", *files)
    if git(path, "status", "--porcelain", "--", *files):
        git(path, "commit", "--quiet", "--no-verify", "--message", "Set up the plant", "--", *files)
