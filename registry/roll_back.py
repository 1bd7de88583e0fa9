"""Going back to the champion before, what needs looking at afterwards, and aliases that were moved past the gate.

POST /changeover/roll-back  {product, reason, emergency}   quality assurance, or the promoter in an emergency
POST /changeover/watch      {}                             the promoter: put back what was moved past the gate
POST /changeover/confirm    {event, reason}                quality assurance: a flag has been looked at
GET  /changeover/flags                                     everybody
"""

from typing import Any, Final

from flask import Flask, Response, jsonify, request
from mlflow.server.handlers import _get_model_registry_store
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from registry.aliases import move
from registry.attempts import holder, trail_problem, version_facts
from registry.endpoints import add_route, refusal
from registry.events import Entry, Event, Trail
from registry.gate import Gate, foreign_page, person
from registry.names import ALIASES, CHAMPION, PREVIOUS, PROMOTER, QA, is_product
from registry.rules import Person, sign_off_problem

EMERGENCY: Final = "emergency"
TAMPERED: Final = "alias.tampered"
SERVER: Final = "(server)"
Answer = Response | tuple[Response, int]


class RollBack(BaseModel):
    """Body of a roll-back."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    product: str = Field(max_length=63)
    reason: str = Field(min_length=1, max_length=2000, pattern=r"\S")
    emergency: bool = False


class Confirmation(BaseModel):
    """Body of a confirmation."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    event: int = Field(ge=1)
    reason: str = Field(min_length=1, max_length=2000, pattern=r"\S")


def flags(events: list[Event]) -> list[Event]:
    """Of all events those that quality assurance has to look at and has not yet: emergency roll-backs, tampered aliases."""
    looked_at = {event.subject for event in events if event.action == "confirm" and event.allowed}
    return [
        event
        for event in events
        if str(event.seq) not in looked_at
        and (event.action == TAMPERED or (event.action == "roll-back" and event.allowed and event.subject == EMERGENCY))
    ]


def refuse_roll_back(who: Person, emergency: bool) -> str | None:
    """Why ``who`` may not go back; None when they may. Who signs may; the promoter may in an emergency, until QA confirms."""
    if who.holds(QA):
        return None
    if not who.holds(PROMOTER):
        return f"{who} may not roll back: only roles {QA} and, in an emergency, {PROMOTER} do; ask quality assurance"
    if not emergency:
        return f"{who} may roll back in an emergency only: give --emergency, or let a person of {QA} do it with --user"
    return None


class RollBacks:
    """The views, on one trail, behind one gate."""

    def __init__(self, trail: Trail, gate: Gate) -> None:
        self._trail, self._gate = trail, gate

    def install(self, app: Flask) -> None:
        """Adds the addresses to ``app``."""
        add_route(app, "/changeover/roll-back", "POST", self.roll_back)
        add_route(app, "/changeover/watch", "POST", self.watch)
        add_route(app, "/changeover/confirm", "POST", self.confirm)
        add_route(app, "/changeover/flags", "GET", self.flags)

    def roll_back(self) -> Answer:
        """The champion becomes the version before it; the one that was champion keeps no name."""
        who = person()
        try:
            wanted = RollBack.model_validate(request.get_json(silent=True))
        except ValidationError as error:
            return _bad(error)
        if not is_product(wanted.product):
            return refusal(400, f"'{wanted.product}' cannot name a product; send the product's name")
        with self._gate.locked():
            before, target = holder(wanted.product, CHAMPION), holder(wanted.product, PREVIOUS)
            problem = foreign_page() or refuse_roll_back(who, wanted.emergency) or self._cannot(wanted.product, before, target)
            entry = Entry(
                actor=who.name, action="roll-back", product=wanted.product, version=target, before=before, after=target,
                subject=EMERGENCY if wanted.emergency else "", address=request.remote_addr or "",
                allowed=problem is None, reason=problem or wanted.reason,
            )  # fmt: skip
            event = self._trail.append(entry)
            if problem is not None:
                return refusal(403, problem)
            step = Entry(
                actor=who.name, action="alias.set", address=entry.address, allowed=True, reason=f"roll-back: {wanted.reason}"
            )
            move(self._trail, wanted.product, CHAMPION, target, step)
            move(self._trail, wanted.product, PREVIOUS, "", step.model_copy(update={"action": "alias.delete"}))
        return jsonify({"product": wanted.product, "version": target, "before": before, "event": event.seq})

    def _cannot(self, product: str, before: str, target: str) -> str | None:
        if not before or not target:
            return f"{product} has no {'previous version' if before else 'champion'} to go {'back to' if before else 'back from'}"
        facts = version_facts(product, target, self._trail)
        problem = sign_off_problem(facts) or trail_problem(facts, self._trail)
        return f"cannot go back to version {target} of {product}: {problem}" if problem else None

    def watch(self) -> Answer:
        """Compares every alias with the trail, flags each that was moved past the gate, and puts it back."""
        who = person()
        if problem := foreign_page():
            return refusal(403, problem)
        if not who.holds(PROMOTER):
            return refusal(403, f"{who} may not put aliases back: only role {PROMOTER} does; run changeover serve")
        undone = []
        with self._gate.locked():
            for model in _models():
                undone += [event.model_dump(mode="json") for event in self._put_back(model.name, dict(model.aliases))]
        return jsonify({"undone": undone})

    def _put_back(self, product: str, found: dict[str, Any]) -> list[Event]:
        expected, registry, undone = self._trail.aliases(product), _get_model_registry_store(), []
        actual = {alias: str(version) for alias, version in found.items()}
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
            if was and alias in ALIASES:
                registry.set_registered_model_alias(product, alias, was)
            else:
                registry.delete_registered_model_alias(product, alias)
        return undone

    def confirm(self) -> Answer:
        """A person of quality assurance has looked at a flag."""
        who = person()
        try:
            wanted = Confirmation.model_validate(request.get_json(silent=True))
        except ValidationError as error:
            return _bad(error)
        with self._gate.locked():
            open_flags = {event.seq: event for event in flags(self._trail.events())}
            flag = open_flags.get(wanted.event)
            problem = foreign_page()
            if problem is None and not who.holds(QA):
                problem = f"{who} may not confirm a flag: only role {QA} does; ask quality assurance"
            if problem is None and flag is None:
                problem = f"event {wanted.event} is no open flag; changeover status shows those that are"
            if problem is None and flag is not None and flag.actor == who.name:
                problem = f"'{who.name}' did what event {wanted.event} flags: another person of role {QA} confirms it"
            entry = Entry(
                actor=who.name, action="confirm", product=flag.product if flag else "",
                version=flag.version if flag else "", subject=str(wanted.event), address=request.remote_addr or "",
                allowed=problem is None, reason=problem or wanted.reason,
            )  # fmt: skip
            self._trail.append(entry)
        return refusal(403, problem) if problem else jsonify({"confirmed": wanted.event})

    def flags(self) -> Answer:
        """Open flags, oldest first."""
        return jsonify({"flags": [event.model_dump(mode="json") for event in flags(self._trail.events())]})


def _models() -> list[Any]:
    token, found = None, []
    while True:
        page = _get_model_registry_store().search_registered_models(max_results=500, page_token=token)
        found += list(page)
        token = page.token
        if not token:
            return found


def _bad(error: ValidationError) -> Answer:
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"])) or "body"
    return refusal(400, f"{place}: {first['msg']}; send a JSON object as the documentation says")
