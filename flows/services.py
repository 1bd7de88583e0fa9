"""Connections to the plant's registry: as one of its services, as its administrator, or as a person."""

from typing import Literal

from flows.plant import Plant
from flows.servers import address
from registry.connection import Connection
from registry.users import ADMIN_USER, PROMOTER_USER, TRAINER_USER, prepare, publisher_key_file

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
