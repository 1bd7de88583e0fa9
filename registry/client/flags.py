"""What a registry's server is asked about going back, aliases moved past its gate, and flags that somebody has to look at."""

from registry.client.connection import Connection
from registry.names import check_product
from registry.trail.events import Event


def roll_back(connection: Connection, product: str, reason: str, *, emergency: bool = False) -> str:
    """Makes the version before the champion the champion again, as the connection's user; its number.

    Role qa may, and the promoter in an ``emergency``, which stays flagged until a person of qa confirms it. ``Refused`` says why
    not.
    """
    body = {"product": check_product(product), "reason": reason, "emergency": emergency}
    return str(connection.call("POST", "/changeover/roll-back", json=body)["version"])


def put_back_aliases(connection: Connection, *, since: str | None = None) -> list[Event]:
    """As the promoter: every alias that somebody moved past the gate goes back to where the trail has it; one event each.

    ``since``: when the ``serve`` that asks every minute started, UTC, ISO 8601. The server remembers it and that it was heard
    of now, and tells whoever asks for its health.
    """
    body = {} if since is None else {"since": since}
    return [Event.model_validate(one) for one in connection.call("POST", "/changeover/watch", json=body)["undone"]]


def open_flags(connection: Connection) -> list[Event]:
    """Emergency roll-backs and tampered aliases that nobody of qa has confirmed yet, oldest first."""
    return [Event.model_validate(one) for one in connection.call("GET", "/changeover/flags")["flags"]]


def confirm(connection: Connection, event: int, reason: str) -> None:
    """As a person of qa: the flag of ``event`` has been looked at. ``Refused`` says why not."""
    connection.call("POST", "/changeover/confirm", json={"event": event, "reason": reason})
