"""Promotion: what QA approved becomes the champion, and the folder that the line reads gets it."""

import json
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from flows.plant import Plant
from flows.services import connect_as
from registry.connection import Connection
from registry.promote import promote as move_aliases
from registry.publish import publish
from registry.record import record, recorded
from registry.versions import Version, candidate, champion, version_of


@dataclass(frozen=True)
class Promoted:
    """``version`` is the champion now; ``changed`` whether this call made it so; ``folder`` is what the line reads."""

    product: str
    version: str
    changed: bool
    folder: Path


def promote(plant: Plant, product: str) -> Promoted:
    """Make the signed candidate of ``product`` the champion and publish it; without a candidate, confirm the champion.

    Every step may be repeated, and goes on where a killed one ended. ``registry.errors.Refused`` says why a candidate may
    not be promoted, ``NotFound`` that there is none.
    """
    connection = connect_as(plant, "promoter")
    with _lock(plant):
        promotion = move_aliases(connection, product)
        folder = _publish(plant, connection, version_of(connection, product, promotion.version))
        return Promoted(product, promotion.version, promotion.changed, folder)


def promote_approved(plant: Plant) -> list[Promoted]:
    """Promote and publish wherever QA approved a candidate, or a champion is not published yet; what was done."""
    connection = connect_as(plant, "promoter")
    done = []
    for product in plant.products():
        waiting, now = candidate(connection, product), champion(connection, product)
        if waiting and waiting.qa == "approved":
            done.append(promote(plant, product))
        elif now and not _is_published(plant, now):  # a promotion that was cut short
            with _lock(plant):
                done.append(Promoted(product, now.version, False, _publish(plant, connection, now)))
    return done


def _publish(plant: Plant, connection: Connection, version: Version) -> Path:
    """Publish a champion, with an event, once a version and folder."""
    folder = publish(connection, version.product, version.version, plant.publish)
    known = recorded(connection, version.product)
    if not any((event.action, event.version, event.subject) == ("publish", version.version, str(folder)) for event in known):
        record(connection, "publish", version.product, version=version.version, digest=version.digest, subject=str(folder))
    return folder


def _is_published(plant: Plant, version: Version) -> bool:
    try:
        pointer = json.loads((plant.publish / version.product / "current.json").read_text(encoding="utf-8"))
        return (pointer["version"], pointer["digest"]) == (version.version, version.digest)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _lock(plant: Plant) -> FileLock:
    # A person's 'changeover promote' and the poll of 'changeover serve' may meet.
    return FileLock(plant.state / "promotion.lock", timeout=300)
