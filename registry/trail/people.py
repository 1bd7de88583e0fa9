"""What the audit trail says about people: full names, who set a password, and whether an account was vouched for.

Nothing of it is kept anywhere else, so nobody can change it in silence. An account is *fresh* after somebody else made it, set
its password or gave it role qa: who did so could have logged in with it. What a fresh account signs is flagged until a second
person of quality assurance, whose own account is not fresh, confirms who signed.
"""

from typing import Final

from registry.names import QA
from registry.trail.events import NOT_DONE, Event, Trail

CREATED, PASSWORD, DELETED, NAMED, ROLE_GIVEN = "user.create", "user.password", "user.delete", "user.name", "role.assign"
CONFIRM: Final = "confirm"
TRAIL_BROKEN: Final = "trail.broken"
"""The server's event when it finds that an older event was edited: nothing is promoted until somebody confirms to have looked."""


class People:
    """On one trail."""

    def __init__(self, trail: Trail) -> None:
        self._trail = trail

    def full_name(self, user: str) -> str:
        """As an administrator entered it; ``user`` itself where none was."""
        found = self._last(user, NAMED)
        return found.after if found is not None and found.after else user

    def has_name(self, user: str) -> bool:
        """Whether a full name is on record."""
        return self._last(user, NAMED) is not None

    def password_by(self, user: str) -> str:
        """Who else set the password that ``user`` has not changed since; empty where nobody did, as far as the trail knows."""
        last = self._last(user, CREATED, PASSWORD)
        return "" if last is None or last.actor == user else last.actor

    def fresh_since(self, user: str) -> Event | None:
        """The event by which somebody else could have got hold of the account of ``user``, while nobody confirmed a signature of
        theirs since; None for an account that was vouched for, or is older than such events."""
        given = [
            one
            for one in _done(self._trail.find(actions=(CREATED, PASSWORD, ROLE_GIVEN), subject=user))
            # Who takes role qa alone, as an administrator can, was vouched for by nobody either.
            if (one.after == QA if one.action == ROLE_GIVEN else one.actor != user)
        ]
        if not given:
            return None
        last = given[-1]
        # Of a signature that was given since: one of before says nothing about who logs in now.
        confirmed = self._trail.find(actions=(CONFIRM,), after_value=user, allowed=True, after=last.seq)
        return None if any(one.subject.isdecimal() and int(one.subject) > last.seq for one in confirmed) else last

    def was_any_confirmed(self) -> bool:
        """Whether a second person ever confirmed who signed: the plant's first signatures are behind it."""
        return any(one.after for one in self._trail.find(actions=(CONFIRM,), allowed=True))

    def was_deleted(self, user: str) -> bool:
        """Whether an account of that name, in whatever case, was ever deleted: its name is not given out again."""
        own = user.casefold()
        return any(one.subject.casefold() == own for one in _done(self._trail.find(actions=(DELETED,))))

    def _last(self, user: str, *actions: str) -> Event | None:
        found = _done(self._trail.find(actions=actions, subject=user))
        return found[-1] if found else None


def _done(events: list[Event]) -> list[Event]:
    """Of events in their order those that were done: one that was allowed and then failed is followed by a refused one."""
    kept: list[Event] = []
    for event in events:
        if event.allowed:
            kept.append(event)
        elif event.reason.startswith(NOT_DONE):
            same = next((one for one in reversed(kept) if (one.actor, one.action) == (event.actor, event.action)), None)
            if same is not None:
                kept.remove(same)
    return kept
