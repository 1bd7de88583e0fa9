"""Promotion: what QA approved becomes the champion, and the folder that the line reads gets it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from flows.plant import Plant
from flows.serving.services import connect_as
from registry.client.connection import Connection
from registry.client.flags import put_back_aliases
from registry.client.flags import roll_back as go_back
from registry.client.promote import promote as move_aliases
from registry.client.promote import waiting
from registry.client.publish import publish, retract
from registry.client.record import record, recorded
from registry.client.versions import Version, version_of, versions
from registry.errors import Broken, NotFound, RegistryError
from registry.line import read_pointer
from registry.names import CHAMPION, TAMPERED
from registry.signature import Publisher


@dataclass(frozen=True)
class Promoted:
    """``version`` is the champion now; ``changed`` whether this call made it so; ``folder`` is what the line reads."""

    product: str
    version: str
    changed: bool
    folder: Path


def promote(plant: Plant, product: str, version: int | None = None) -> Promoted:
    """Make the signed candidate of ``product``, or the approved ``version``, the champion and publish it; without a candidate,
    confirm the champion.

    Every step may be repeated, and goes on where a killed one ended. ``registry.errors.Refused`` says why a candidate may
    not be promoted, ``NotFound`` that there is none.
    """
    connection = connect_as(plant, "promoter")
    with _lock(plant):
        promotion = move_aliases(connection, product, version)
        folder = _publish(plant, connection, version_of(connection, product, promotion.version))
        return Promoted(product, promotion.version, promotion.changed, folder)


def promote_approved(plant: Plant, log: Callable[[str], None], since: str | None = None) -> list[Promoted]:
    """Make what the line reads what QA decided, for every product; what was done.

    Approved versions are promoted and published, a champion that is not published yet is, and what has no champion any more is
    retracted. Aliases that were moved past the gate are put back first. ``log`` gets a line for each, and of every product that
    could not be seen to: one must not hold up the others. ``since``: see ``registry.client.flags.put_back_aliases``.
    """
    connection = connect_as(plant, "promoter")
    for event in put_back_aliases(connection, since=since):
        moved = f" (it was {event.after or 'taken away'}, and is {event.before or 'gone'} again)"
        log(f"{event.product}: {event.reason}{moved if event.action == TAMPERED else ''}")
    done = []
    for product in plant.products():
        try:
            done += _see_to(plant, connection, product)
        except RegistryError as error:
            log(f"{product}: {error}")
    return done


def _see_to(plant: Plant, connection: Connection, product: str) -> list[Promoted]:
    known = versions(connection, product)
    next_one, now = waiting(known), next((one for one in known if CHAMPION in one.aliases), None)
    if next_one and next_one.qa == "approved":
        return [promote(plant, product)]
    with _lock(plant):
        if now and not _is_published(plant, connection, now):  # a promotion or a roll-back that was cut short
            return [Promoted(product, now.version, False, _publish(plant, connection, now))]
        if now is None and retract(product, plant.publish):
            record(connection, "retract", product, subject=str(plant.publish / product), reason="the product has no champion")
    return []


def roll_back(plant: Plant, product: str, reason: str, person: Connection | None) -> Promoted:
    """Go back to the version before the champion and publish it. ``person``: of quality assurance; None in an emergency, which
    stays flagged until QA confirms. ``registry.errors.Refused`` says why not."""
    connection = connect_as(plant, "promoter")
    with _lock(plant):
        number = go_back(person or connection, product, reason, emergency=person is None)
        folder = _publish(plant, connection, version_of(connection, product, number))
    return Promoted(product, number, True, folder)


def _publish(plant: Plant, connection: Connection, version: Version) -> Path:
    """Publish a champion, with an event unless the last one says the same."""
    folder = publish(connection, version.product, version.version, plant.publish)
    events = [
        event for event in recorded(connection, version.product) if event.action in ("publish", "retract") and event.allowed
    ]
    if not events or (events[-1].action, events[-1].version, events[-1].subject) != ("publish", version.version, str(folder)):
        record(connection, "publish", version.product, version=version.version, digest=version.digest, subject=str(folder))
    return folder


def _is_published(plant: Plant, connection: Connection, version: Version) -> bool:
    """Whether the pointer, signed with our own key, names ``version``."""
    if connection.publisher_key is None:
        return False
    try:
        pointer = read_pointer(plant.publish, version.product, Publisher.of(connection.publisher_key).public)
    except (NotFound, Broken):
        return False
    return (pointer["version"], pointer["digest"]) == (version.version, version.digest)


def _lock(plant: Plant) -> FileLock:
    # A person's 'changeover promote' and the poll of 'changeover serve' may meet.
    return FileLock(plant.state / "promotion.lock", timeout=300)
