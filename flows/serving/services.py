"""Connections to the plant's registry: as one of its services, as its administrator, or as a person."""

from typing import Any, Literal

from flows.errors import ServerError
from flows.plant import Plant
from flows.serving.identity import identity_of
from flows.serving.servers import address
from registry.client.connection import Connection
from registry.names import ADMIN_USER, PROMOTER_USER, TRAINER_USER
from registry.secrets import prepare, publisher_key_file

Service = Literal["trainer", "promoter", "admin"]


def connect_as(plant: Plant, service: Service) -> Connection:
    """A connection as a service of this plant, with the password from its secrets. ServerError if the server is not up."""
    url = address(plant, "mlflow")
    secrets = prepare(plant.state / "mlflow")
    user, password = {
        "trainer": (TRAINER_USER, secrets.trainer),
        "promoter": (PROMOTER_USER, secrets.promoter),
        "admin": (ADMIN_USER, secrets.admin),
    }[service]
    key = publisher_key_file(plant.state / "mlflow") if service == "promoter" else None
    return Connection(url, user, password, publisher_key=key)


def connect_as_person(plant: Plant, user: str, password: str) -> Connection:
    """A connection as a person who gave their password. ServerError if the server is not up."""
    return Connection(address(plant, "mlflow"), user, password)


def health(plant: Plant, connection: Connection) -> dict[str, Any]:
    """The answer of ``Connection.check``. ServerError where it comes from the server of another plant."""
    found, known = connection.check(), identity_of(plant)
    if found.get("plant") and (known is None or found["plant"] != known.id):
        raise ServerError(
            f"{connection.url} is the server of another plant than {plant.path}; run 'changeover down' and 'changeover up' here"
        )
    return found
