"""Who asked for a changeover: the operating system's account, or a person who said so to the registry with their password.

It goes into the signed record, because who asked for a model may not sign it. Parameters of a run come from Prefect, whose one
password says nothing about who somebody is. So a name in them counts only as far as the registry's trail bears it out.
"""

from dataclasses import dataclass
from typing import Final

from registry.client.connection import Connection
from registry.client.versions import account
from registry.trail.events import Event

ACTION: Final = "request"
"""Of the event that the registry writes when a person asks for a changeover."""
PERSON: Final = "user:"


@dataclass(frozen=True)
class Requester:
    """``by``: ``os:NAME`` or ``user:NAME``; ``event``: the number of the person's request in the trail, None for an account."""

    by: str
    event: int | None = None

    @classmethod
    def of_parameters(cls, by: object, event: object) -> "Requester":
        """What a run's parameters claim. They may be anything; an event that said nothing leaves empty texts."""
        if not isinstance(by, str) or not by:
            return cls(requested_by())
        number = isinstance(event, str) and event.isascii() and event.isdecimal() and len(event) <= 12
        return cls(by, int(str(event)) if number else None)

    def as_parameters(self) -> tuple[str, str]:
        """For ``of_parameters``. Both are texts, since all that an event carries becomes text."""
        return self.by, "" if self.event is None else str(self.event)


def requested_by() -> str:
    """``os:NAME``, the account that this process runs as, whatever the environment says."""
    return f"os:{account()}"


def ask_as_person(connection: Connection, product: str, batch: str) -> Requester:
    """Put the request of the connection's user on the trail. ``registry.errors.Refused`` for a wrong password."""
    connection.check()
    answer = connection.call("POST", "/changeover/requests", json={"product": product, "batch": batch})
    return Requester(f"{PERSON}{connection.user}", int(answer["event"]))


def proved(connection: Connection, claimed: Requester, product: str, batch: str) -> str:
    """Who asked, as far as it is proved: the person that ``claimed`` names if the trail holds their request of just this
    batch, else the account that this process runs as."""
    if claimed.event and claimed.by.startswith(PERSON):
        answer = connection.call("GET", "/changeover/events", params={"product": product, "after": str(claimed.event - 1)})
        for event in (Event.model_validate(one) for one in answer["events"][:1]):
            if _is_request(event, claimed, product, batch):
                return claimed.by
    return requested_by()


def _is_request(event: Event, claimed: Requester, product: str, batch: str) -> bool:
    said = (event.seq, event.allowed, event.action, f"{PERSON}{event.actor}", event.product, event.subject)
    return said == (claimed.event, True, ACTION, claimed.by, product, batch)
