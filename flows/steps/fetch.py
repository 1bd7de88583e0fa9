"""Model files of registered versions, kept in the plant once they were fetched."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.files import file_digest
from flows.errors import PlantError
from flows.plant import Plant
from flows.serving.services import connect_as
from registry.client.connection import Connection
from registry.client.sign_off import status_of
from registry.client.versions import Version, download_model, version_of, versions
from registry.errors import Refused
from registry.names import ALIASES, CANDIDATE, CHAMPION

if TYPE_CHECKING:
    from models.evaluation.metrics_file import Metrics


@dataclass(frozen=True)
class Fetched:
    """A version and its model file on this machine."""

    version: Version
    path: Path


def fetch_model(plant: Plant, product: str, version: int | None = None, alias: str = CHAMPION) -> Fetched:
    """The model of ``version``, or of the version that holds ``alias``. PlantError if nothing holds it, NotFound for a number,
    Refused for a champion whose sign-off does not hold."""
    connection = connect_as(plant, "trainer")
    if version is not None:
        return fetch(plant, connection, version_of(connection, product, version))
    if alias not in ALIASES:
        raise PlantError(f"alias {alias!r} is not one of {', '.join(ALIASES)}; use one of them, or --version N")
    for one in versions(connection, product):
        if alias in one.aliases:
            # A line would not use it: neither does whoever asks what the line would say.
            if alias != CANDIDATE and not (signed := status_of(connection, one)).valid:
                raise Refused(f"{alias} {one.version} of {product} is not validly signed: {signed.problem}")
            return fetch(plant, connection, one)
    fix = "sign and promote a candidate, or name a version with --version N" if alias == CHAMPION else "see 'changeover history'"
    raise PlantError(f"product {product!r} has no {alias} yet; {fix}")


def fetch(plant: Plant, connection: Connection, version: Version) -> Fetched:
    """The model file of ``version``, from the plant's cache if it is there and unchanged."""
    target = plant.state / "models" / version.product / f"{version.version}.onnx"
    if not target.exists() or file_digest(target) != version.digest:
        download_model(connection, version.product, version.version, target)
    return Fetched(version, target)


def fetch_metrics(connection: Connection, version: Version) -> "Metrics":
    """``metrics.json`` as it was registered with ``version``. NotFound if it was taken away, PlantError if it is damaged."""
    from models.evaluation.metrics_file import read_metrics

    chunks: list[bytes] = []
    connection.fetch("/get-artifact", {"path": "metrics.json", "run_uuid": version.run_id}, chunks.append)
    try:
        return read_metrics(b"".join(chunks))
    except ValueError as error:
        name = f"version {version.version} of {version.product}"
        raise PlantError(f"metrics.json of {name} is damaged ({error}); promote another version") from error
