"""The trail through the server: what the flows decide, and what happened to a product."""

from registry.client.connection import Connection
from registry.names import check_model
from registry.trail.events import Event


def record(
    connection: Connection,
    action: str,
    product: str,
    *,
    version: str = "",
    digest: str = "",
    subject: str = "",
    reason: str = "",
) -> Event:
    """Appends an event: ``ingest``, ``keep``, ``retrain``, ``fail`` or ``rebuild`` as trainer,
    ``publish``, ``retract`` or ``adopt`` as promoter. ``fail`` may be about a teacher, ``teacher-<name>``; ``adopt`` is about
    the plant, so its product is "".

    Raises ``Refused`` for any other action or user.
    """
    body = {"action": action, "product": product, "version": version, "digest": digest, "subject": subject, "reason": reason}
    return Event.model_validate(connection.call("POST", "/changeover/events", json=body)["event"])


def recorded(connection: Connection, product: str | None = None) -> list[Event]:
    """Events in order, as any user may read them: of ``product``, of a teacher (``teacher-<name>``), or all."""
    params = {} if product is None else {"product": check_model(product)}
    found: list[Event] = []
    while True:
        after = str(found[-1].seq) if found else "0"
        answer = connection.call("GET", "/changeover/events", params=params | {"after": after})
        page = [Event.model_validate(one) for one in answer["events"]]
        found += page
        if len(page) < answer["page"]:
            return found
