"""The good images that a plant's teacher learns from: those of the subset ``train`` of validated batches, with their origin."""

import json
from dataclasses import dataclass
from typing import Any

from core.errors import BadBatch, ChangeoverError
from core.files import file_digest
from data.batch import BatchFolder, images_digest
from data.checkout import pull_images
from flows.newest_batch import tagged_batches
from flows.plant import Plant
from flows.stages import Report, when_free

MOST = 100
"""Images of one product: more say little new, and a product with many must not outweigh the others."""
LISTED = 2000
"""Up to that many images in all are named one by one in a teacher's card."""


@dataclass(frozen=True)
class BatchImages:
    """Images of one batch. ``commit``: of the plant's git, where tag ``tag`` stands; it fixes every image by its name."""

    product: str
    batch: str
    tag: str
    commit: str
    digest: str
    """``data.batch.images_digest`` of the images that are used."""
    images: tuple[str, ...]
    folder: BatchFolder

    @property
    def paths(self) -> list[str]:
        """Absolute paths."""
        return [str(self.folder.good / name) for name in self.images]


@dataclass(frozen=True)
class TeacherImages:
    """``notes``: which batches are left out, and why, a line each."""

    batches: tuple[BatchImages, ...]
    notes: tuple[str, ...]

    @property
    def count(self) -> int:
        """Number of images."""
        return sum(len(one.images) for one in self.batches)

    @property
    def products(self) -> dict[str, list[str]]:
        """Absolute paths of each product's images."""
        found: dict[str, list[str]] = {}
        for one in self.batches:
            found.setdefault(one.product, []).extend(one.paths)
        return found

    @property
    def words(self) -> str:
        """In a few words: how many of how many products, and of which."""
        names = list(self.products)
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        return f"{self.count} good images of {', '.join(names[:8])}{more}"

    def record(self) -> dict[str, Any]:
        """For a teacher's card: of each product and batch the tag, the commit, and digest, number and names of the images."""
        listed = self.count <= LISTED
        found: dict[str, dict[str, Any]] = {}
        for one in self.batches:
            facts: dict[str, Any] = {"tag": one.tag, "commit": one.commit, "digest": one.digest, "count": len(one.images)}
            found.setdefault(one.product, {})[one.batch] = facts | ({"images": list(one.images)} if listed else {})
        return found


def teacher_images(plant: Plant, products: list[str], report: Report) -> TeacherImages:
    """At most ``MOST`` images of each of ``products``, from its newest batches first. Images that are not in the working copy are
    fetched from the store; a batch whose images cannot be had is left out, with a note."""
    tagged = tagged_batches(plant)
    batches: list[BatchImages] = []
    notes: list[str] = []
    for product in products:
        here = [record.parent.name for record in (plant.path / "products" / product).glob("*/batch.yaml")]
        for batch in here:
            if f"{product}/{batch}" not in tagged and (plant.batch(product, batch).file("split.json")).exists():
                notes.append(f"{product} {batch} is left out: git has no tag {product}/{batch}; run its changeover to its end")
        room = MOST
        for batch in sorted(
            (batch for batch in here if f"{product}/{batch}" in tagged),
            key=lambda batch: (tagged[f"{product}/{batch}"][1], batch),
            reverse=True,
        ):
            if not room:
                break
            try:
                found = _batch_images(plant, product, batch, tagged[f"{product}/{batch}"][0], room, report)
            except ChangeoverError as problem:
                notes.append(f"{product} {batch} is left out: {problem}")
                continue
            if found is not None:
                batches.append(found)
                room -= len(found.images)
    return TeacherImages(tuple(batches), tuple(notes))


def _batch_images(plant: Plant, product: str, batch: str, commit: str, room: int, report: Report) -> BatchImages | None:
    """At most ``room`` images of a batch; None where it did not pass validation. ChangeoverError where it cannot be had."""
    folder = plant.batch(product, batch)
    passed, train = _findings(folder)
    if not passed:
        return None
    record = folder.read_record()
    known = {image.name: image for image in record.images}
    if not set(train) <= known.keys():
        raise BadBatch(f"split.json of {product}/{batch} names images that batch.yaml does not; restore both with 'git checkout'")
    # Spread over the whole batch, whose names are in the order of capture.
    names = tuple(train[position * len(train) // room] for position in range(room)) if len(train) > room else tuple(train)
    report(f"checking images: {product} {batch}", None)
    if not all((folder.good / name).is_file() for name in names):
        if not folder.file("good.dvc").is_file():
            raise BadBatch("its images are not here, and neither is good.dvc; restore it with 'git checkout'")
        report(f"fetching images: {product} {batch}", None)
        when_free(lambda: pull_images(folder))
    for name in names:
        if file_digest(folder.good / name) != known[name].sha256:
            raise BadBatch(f"{name!r} was changed after it was ingested; delete the folder good and run again to fetch it")
    digest = images_digest(tuple(known[name] for name in names))
    return BatchImages(product, batch, f"{product}/{batch}", commit, digest, names, folder)


def _findings(folder: BatchFolder) -> tuple[bool, list[str]]:
    """Whether the batch passed validation, and the names in its subset ``train``, sorted."""
    if not folder.file("split.json").exists():
        return False, []  # not yet, or it did not pass
    try:
        validation, split = (
            json.loads(folder.file(name).read_text(encoding="utf-8")) for name in ("validation.json", "split.json")
        )
        passed, train = validation["passed"], split["train"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadBatch("validation.json or split.json is missing or damaged; run its changeover again") from error
    if not isinstance(train, list) or not all(isinstance(name, str) for name in train):
        raise BadBatch("split.json is damaged; run its changeover again")
    return passed is True, sorted(train)
