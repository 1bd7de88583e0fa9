"""``changeover adopt``: a copy of a plant becomes a plant of its own, and the audit trail records it."""

import getpass
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psutil

from flows.errors import PlantError
from flows.plant import Plant
from flows.serving.identity import PLANT_ID, Identity, copied, identity_of, outside, renewed, write_identity
from flows.serving.processes import ProcessMark
from flows.serving.servers import servers_lock
from flows.serving.services import connect_as
from registry.client.record import record, recorded
from registry.errors import RegistryError


@dataclass(frozen=True)
class Adopted:
    """``id``: of the plant from now on. ``remarks``: what is left to do, one sentence each."""

    id: str
    remarks: tuple[str, ...]


def adopt(plant: Plant, original_is_gone: bool) -> Adopted | None:
    """Give a copy an identity of its own; None where the plant is no copy, and nothing is changed.

    PlantError where it would write to what the original writes to (database, published folder, bucket), which is right only if
    that is gone for good: ``original_is_gone``. No server is ended, the original's least of all.
    """
    with servers_lock(plant):
        copy, known = copied(plant), identity_of(plant)
        if not copy or known is None:
            return None
        now = outside(plant)
        shared = {name: value for name, value in now.items() if known.outside.get(name) == value}
        if shared and not original_is_gone:
            names = ", ".join(f"{name} {value}" for name, value in shared.items())
            raise PlantError(
                f"{copy}, and both would write to {names}; give the copy its own in changeover.yaml, or say --original-is-gone"
            )
        # The former place's: a dead run's stages would be ended by their number.
        remarks = tuple(_left_running(plant, known))
        (plant.state / "servers.json").unlink(missing_ok=True)
        shutil.rmtree(plant.state / "runs", ignore_errors=True)
        gone = ", which is said to be gone," if original_is_gone else ""
        when = datetime.now(UTC).isoformat(timespec="seconds")
        fresh = renewed(plant, f"{copy}; adopted{gone} at {when} by os:{getpass.getuser()}; the original was plant {known.id}")
        return Adopted(fresh.id, remarks)


def record_adoption(plant: Plant, log: Callable[[str], None]) -> None:
    """Put the adoption on the audit trail, once, when the registry is up; where that fails it is tried at the next start."""
    known = identity_of(plant)
    if known is None or not known.adopted:
        return
    try:
        connection = connect_as(plant, "promoter")
        if not any((one.action, one.subject) == ("adopt", known.id) for one in recorded(connection)):  # by a killed one
            record(connection, "adopt", "", subject=known.id, reason=known.adopted[:2000])
    except RegistryError as problem:
        log(f"the audit trail could not be told that this plant was adopted: {problem}; it is tried again at the next 'up'")
        return
    write_identity(plant, replace(known, adopted=""))


def _left_running(plant: Plant, known: Identity) -> Iterator[str]:
    """Servers of a place that is gone: nobody else will end them."""
    try:
        records = json.loads((plant.state / "servers.json").read_text(encoding="utf-8"))
        marks = {name: ProcessMark(one["pid"], one["started"]) for name, one in records.items() if one.get("pid")}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return
    for name, mark in marks.items():
        try:
            process = psutil.Process(mark.pid)
            whose, folder = process.environ().get(PLANT_ID), process.cwd()
        except (psutil.Error, OSError):
            continue
        if mark.alive() and whose == known.id and not Path(folder).exists():
            yield f"the {name} server of {known.home} still runs as process {mark.pid}, and its folder is gone: end it"
