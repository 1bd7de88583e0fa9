"""What the registry sees to by itself, when it starts and each minute that 'changeover serve' lives.

POST /changeover/watch      {since}      the promoter

| found | what is done | event |
|---|---|---|
| a version that no event registers | it is deleted: who registered it was cut off | ``version.delete`` |
| an alias that the trail has elsewhere | it goes back, where the rules of a promotion allow it | ``alias.tampered`` |
| a champion whose sign-off does not hold | somebody has to look | ``sign-off.void`` |
| a line pointed at what is not the champion | it is pointed at the champion, or at none | ``publish``, ``retract`` |
| a line that was pointed elsewhere without an event | the event is written | ``publish``, ``retract`` |
| an older event that was edited | nothing is promoted until somebody has looked | ``trail.broken`` |
"""

import logging
from typing import Final

from flask import Flask, jsonify, request
from mlflow.exceptions import MlflowException
from mlflow.server.handlers import _get_model_registry_store
from pydantic import Field
from sqlalchemy.exc import SQLAlchemyError

from registry.errors import RegistryError
from registry.names import ALIASES, CHAMPION, PROMOTER, TAMPERED, VOID
from registry.rules.facts import VersionFacts
from registry.rules.flagged import flags
from registry.server.aliases import SERVER
from registry.server.attempts import holder, models, versions_of
from registry.server.authorisation import Authorisation, foreign_page, person
from registry.server.bodies import Body, sent
from registry.server.endpoints import Answer, add_route, refusal
from registry.server.serving import Serving
from registry.trail.events import Entry, Event, Trail
from registry.trail.people import TRAIL_BROKEN

_LIVES: Final = ("register", "version.delete")
RECHECKED: Final = 20_000
"""Older events that are proven once more at every look."""
_LOG = logging.getLogger(__name__)


class WatchBody(Body):
    """Body of the request. ``since``: when 'changeover serve' was started, ISO 8601."""

    since: str | None = Field(None, max_length=40, pattern=r"^[0-9T:.+Z-]+$")


class Watch:
    """On one trail, behind one gate."""

    def __init__(self, trail: Trail, gate: Authorisation, serving: Serving) -> None:
        self._trail, self._gate, self._serving = trail, gate, serving

    def install(self, app: Flask) -> None:
        """Adds the address to ``app``."""
        add_route(app, "/changeover/watch", "POST", self.watch)

    def watch(self) -> Answer:
        """Sees to everything, proves some older events once more, and notes that 'changeover serve' lives."""
        who = person()
        body = sent(WatchBody)
        problem = foreign_page()
        if problem is None and not who.holds(PROMOTER):
            problem = f"{who} may not put aliases back: only role {PROMOTER} does; run changeover serve"
        if problem is not None:
            entry = Entry(actor=who.name, action="watch", address=request.remote_addr or "", allowed=False, reason=problem)
            self._trail.append(entry)
            return refusal(403, problem)
        broken = self._trail.recheck(RECHECKED)
        if broken and not any(flag.action == TRAIL_BROKEN for flag in flags(self._trail)):
            self._trail.append(Entry(actor=SERVER, action=TRAIL_BROKEN, allowed=False, reason=broken))
        found = self.see_to_everything()
        self._serving.seen(body.since)
        return jsonify({"undone": [event.model_dump(mode="json") for event in found]})

    def see_to_everything(self) -> list[Event]:
        """The table above, but its last line; one event for each thing found. Needs an application context."""
        found: list[Event] = []
        for name in [model.name for model in models()]:
            try:
                with self._gate.transaction():
                    found += self._see_to(name)
                with self._gate.turn():
                    pointed = self._gate.aliases.see_to_the_line(name)
                found += [pointed] if pointed is not None else []
            except (RegistryError, MlflowException, SQLAlchemyError, OSError):
                _LOG.exception("%s could not be seen to", name)  # one product must not hold up the others
        return found

    def _see_to(self, product: str) -> list[Event]:
        aliases = _get_model_registry_store().get_registered_model(product).aliases
        return [
            *self._undo_registrations(product),
            *self._put_back(product, {alias: str(version) for alias, version in aliases.items()}),
            *self._check_champion(product),
        ]

    def _undo_registrations(self, product: str) -> list[Event]:
        """Versions of which the trail says nothing: nobody can ever sign one."""
        last = {event.version: event.action for event in self._trail.find(actions=_LIVES, product=product, allowed=True)}
        open_ones = [one for one in versions_of(product) if last.get(one.version) != "register" and self._is_unknown(one)]
        if not open_ones or self._trail.problem():
            return []
        done = []
        for one in open_ones:
            why = (
                f"no event registers version {one.version} (model {one.digest[:12]}): who registered it was cut off, or it was"
                " written into the database past the gate; it was taken away, and may be registered again"
            )
            entry = Entry(
                actor=SERVER, action="version.delete", product=product, version=one.version, digest=one.digest, allowed=True,
                reason=why,
            )  # fmt: skip
            done.append(self._trail.append(entry))
            _get_model_registry_store().delete_model_version(product, one.version)
        return done

    def _is_unknown(self, facts: VersionFacts) -> bool:
        if facts.aliases or facts.decision != "pending":
            return False
        # By whatever name, digest or number: what was registered once and changed since is evidence, and stays.
        return not facts.life or not self._trail.find(actions=("register",), subject=facts.life, allowed=True, at_most=1)

    def _put_back(self, product: str, actual: dict[str, str]) -> list[Event]:
        expected, registry, undone = self._trail.aliases(product), _get_model_registry_store(), []
        for alias in sorted({*expected, *actual}):
            was, now = expected.get(alias, ""), actual.get(alias, "")
            if was == now:
                continue
            reason = f"alias '{alias}' was moved past the gate and put back; find out who can write to the database"
            # Recorded as refused, so that the next look still expects what was there before.
            entry = Entry(
                actor=SERVER, action=TAMPERED, product=product, version=now or was, subject=alias, before=was, after=now,
                allowed=False, reason=reason,
            )  # fmt: skip
            undone.append(self._trail.append(entry))
            if was and alias == CHAMPION and not self._gate.aliases.holds(product, was):
                # Nothing is crowned without an approval that holds, not even by the trail of an earlier one.
                why = f"version {was} was the champion, but its sign-off does not hold"
                gone = Entry(actor=SERVER, action="alias.delete", allowed=True, reason=why)
                self._gate.aliases.move(product, alias, "", gone)
                self._gate.aliases.point_line(product, "", why, "")
            elif was and alias in ALIASES:
                registry.set_registered_model_alias(product, alias, was)
            else:
                registry.delete_registered_model_alias(product, alias)
        return undone

    def _check_champion(self, product: str) -> list[Event]:
        """A champion that would not be promoted any more: the line keeps it, until somebody has looked."""
        champion = holder(product, CHAMPION)
        problem = self._gate.aliases.problem(product, champion, remembered=True) if champion else None
        if problem is None or self._trail.problem():  # where the trail itself is broken, that is what has to be said
            return []
        reason = f"the champion's sign-off does not hold: {problem}"
        noted = self._trail.find(actions=(VOID,), product=product, version=champion, newest_first=True, at_most=1)
        if noted and noted[0].reason == reason:
            return []
        entry = Entry(
            actor=SERVER, action=VOID, product=product, version=champion, subject=CHAMPION, allowed=False, reason=reason
        )
        return [self._trail.append(entry)]


def see_to_everything_at_start(app: Flask, watch: Watch) -> None:
    """For each worker, before it answers: a process that died may have left something open. Never keeps it from starting."""
    with app.app_context():
        try:
            watch.see_to_everything()
        except (RegistryError, MlflowException, SQLAlchemyError, OSError, TimeoutError):
            _LOG.exception("what was left open could not be seen to; the next look tries again")
