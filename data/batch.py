"""A batch: one delivery of good images of one product, and the folder that holds everything about it."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from core.errors import BadBatch, BadName
from data.yaml_file import write_yaml

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
MIN_IMAGES = 12
LIBRARY = "library"
"""Folder of cut-outs beside a product's batches, and its copy in each of them."""
TEMPLATES = "templates"
"""Folder of a product's templates beside its batches, and of a batch's in its library."""
RESERVED = (LIBRARY, TEMPLATES)
"""What lies beside a product's batches; no batch may be called that."""
TEACHER = "teacher-"
"""What the registered models of teachers are called, before their names; no product may be called that."""


def check_name(kind: str, name: str) -> str:
    """Return ``name`` if it may name a ``kind`` ("product" or "batch"); raise BadName otherwise.

    The rule is ``[a-z0-9][a-z0-9._-]*``, at most 63 characters, without ``..`` and not ending in a dot or ``.lock``
    (and no batch is called ``library`` or ``templates``), because the name is also a folder, a git tag and a registered model.
    Registered models that start with ``teacher-`` are teachers, so no product does.
    """
    if not NAME.fullmatch(name) or ".." in name or name.endswith((".", ".lock")) or (kind == "batch" and name in RESERVED):
        raise BadName(
            f"{kind} name {name[:80]!r} is not of the form [a-z0-9][a-z0-9._-]* with at most 63 characters;"
            f" try {_suggestion(kind, name)!r}"
        )
    if kind == "product" and name.startswith(TEACHER):
        raise BadName(f"product name {name!r} starts with {TEACHER!r}, as teachers' do; try {_suggestion(kind, name)!r}")
    return name


def _suggestion(kind: str, name: str) -> str:
    """A name that ``check_name`` accepts, as like ``name`` as may be."""
    suggestion = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_")
    while kind == "product" and suggestion.startswith(TEACHER):
        suggestion = suggestion.removeprefix(TEACHER).strip("-_")
    suggestion = suggestion[:63] or "bolt-m6"
    return f"{suggestion}-a" if kind == "batch" and suggestion in RESERVED else suggestion


class ImageRecord(BaseModel):
    """One accepted image: the name it has in ``good/``, where it came from, and what it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    source_name: str
    sha256: str
    bytes: int
    width: int
    height: int
    channels: int
    group: str | None = None
    """Physical part, where the source says so: images of one part never cross the split."""


class Rejection(BaseModel):
    """One file of the source that was not taken, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    source_name: str
    reason: str


class BatchRecord(BaseModel):
    """``batch.yaml``: what ingest took and what it left."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    product: str
    batch: str
    digest: str
    images: tuple[ImageRecord, ...]
    rejected: tuple[Rejection, ...] = ()


def images_digest(images: tuple[ImageRecord, ...]) -> str:
    """SHA-256 over the sorted lines ``sha256  name  group``: order does not matter."""
    lines = sorted(f"{image.sha256}  {image.name}  {image.group or ''}\n" for image in images)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@dataclass(frozen=True)
class BatchFolder:
    """Paths of one batch. Stages run with this folder as working directory and build it with ``BatchFolder(Path.cwd())``."""

    path: Path

    @classmethod
    def of(cls, plant: Path, product: str, batch: str) -> "BatchFolder":
        """The folder of ``product``/``batch`` in ``plant``; both names are checked."""
        return cls(plant / "products" / check_name("product", product) / check_name("batch", batch))

    @property
    def good(self) -> Path:
        """Folder of the accepted good images, byte for byte as delivered."""
        return self.path / "good"

    @property
    def work(self) -> Path:
        """Scratch of running stages (checkpoints, progress): git-ignored, may be deleted at any time."""
        return self.path / ".work"

    def channels(self) -> int | None:
        """Channels of every image of the batch, 1 or 3, whatever a single picture shows; None in a folder without a record."""
        return self.read_record().images[0].channels if self.file("batch.yaml").exists() else None

    def file(self, name: str) -> Path:
        """A record in this folder, such as ``validation.json``."""
        return self.path / name

    def write_record(self, record: BatchRecord) -> None:
        """Write ``batch.yaml``."""
        write_yaml(self.path / "batch.yaml", record.model_dump(mode="json"))

    def read_record(self) -> BatchRecord:
        """Read ``batch.yaml``; BadBatch if it is missing or damaged."""
        source = self.path / "batch.yaml"
        try:
            return BatchRecord.model_validate(yaml.safe_load(source.read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise BadBatch(f"no batch.yaml in {self.path}; ingest images first with 'changeover run'") from error
        except (yaml.YAMLError, ValidationError, UnicodeDecodeError) as error:
            raise BadBatch(
                f"{source} is damaged ({type(error).__name__}); restore it with 'git checkout -- {source.name}'"
            ) from error
