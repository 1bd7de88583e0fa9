"""Events that somebody of quality assurance has to look at: how they are called, and which of them are open."""

from typing import Final

from registry.names import FLAGGED, TAMPERED, VOID
from registry.trail.events import Event, Trail
from registry.trail.people import CONFIRM, TRAIL_BROKEN

EMERGENCY: Final = "emergency"
"""Subject of a roll-back that a service did."""


def flags(trail: Trail) -> list[Event]:
    """What quality assurance has to look at and has not yet, oldest first: emergency roll-backs, aliases that were moved past the
    gate, champions whose sign-off does not hold, and signatures of accounts that somebody else could have logged in with."""
    looked_at = {event.subject for event in trail.find(actions=(CONFIRM,), allowed=True)}
    found = [
        *trail.find(actions=("roll-back",), subject=EMERGENCY, allowed=True),
        *trail.find(actions=(TAMPERED, VOID, FLAGGED, TRAIL_BROKEN)),
    ]
    return sorted((event for event in found if str(event.seq) not in looked_at), key=lambda event: event.seq)
