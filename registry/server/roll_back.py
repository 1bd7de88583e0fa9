"""Going back to the champion before, and what needs looking at afterwards.

POST /changeover/roll-back  {product, reason, emergency}   quality assurance, or the promoter in an emergency
POST /changeover/confirm    {event, reason}                quality assurance: a flag has been looked at
GET  /changeover/flags                                     everybody
"""

from flask import Flask, jsonify, request
from pydantic import Field

from registry.names import CHAMPION, FLAGGED, PREVIOUS, PROMOTER, QA
from registry.rules.facts import Person
from registry.rules.flagged import EMERGENCY, flags
from registry.rules.rules import sign_off_problem
from registry.rules.signing_rules import may_decide
from registry.server.aliases import SERVER
from registry.server.attempts import approval_problem, holder, models, version_facts
from registry.server.authorisation import Authorisation, foreign_page, person
from registry.server.bodies import Body, OfProduct, sent
from registry.server.endpoints import Answer, add_route, refusal
from registry.trail.events import Entry, Event, Trail
from registry.trail.people import CONFIRM


class RollBack(OfProduct):
    """Body of a roll-back."""

    reason: str = Field(min_length=1, max_length=2000, pattern=r"\S")
    emergency: bool = False


class Confirmation(Body):
    """Body of a confirmation."""

    event: int = Field(ge=1)
    reason: str = Field(min_length=1, max_length=2000, pattern=r"\S")


def refuse_roll_back(who: Person, emergency: bool) -> str | None:
    """Why ``who`` may not go back; None when they may. Who signs may; the promoter may in an emergency, until QA confirms."""
    if who.holds(QA):
        return may_decide(who)
    if not who.holds(PROMOTER):
        return f"{who} may not roll back: only roles {QA} and, in an emergency, {PROMOTER} do; ask quality assurance"
    if not emergency:
        return f"{who} may roll back in an emergency only: give --emergency, or let a person of {QA} do it with --user"
    return None


class RollBacks:
    """The views, on one trail, behind one gate."""

    def __init__(self, trail: Trail, gate: Authorisation) -> None:
        self._trail, self._gate = trail, gate

    def install(self, app: Flask) -> None:
        """Adds the addresses to ``app``."""
        add_route(app, "/changeover/roll-back", "POST", self.roll_back)
        add_route(app, "/changeover/confirm", "POST", self.confirm)
        add_route(app, "/changeover/flags", "GET", self.flags)

    def roll_back(self) -> Answer:
        """The champion becomes the version before it; the one that was champion keeps no name."""
        who = person()
        wanted = sent(RollBack)
        with self._gate.transaction():
            before, target = _holder(wanted.product, CHAMPION), _holder(wanted.product, PREVIOUS)
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
            aliases = self._gate.aliases
            aliases.move(wanted.product, CHAMPION, target, step)
            aliases.move(wanted.product, PREVIOUS, "", step.model_copy(update={"action": "alias.delete"}))
            aliases.point_line(wanted.product, target, step.reason, entry.address)
            if who.holds(QA):
                self._gate.flag_if_fresh(who, version_facts(wanted.product, target, self._trail), "roll-back")
        return jsonify({"product": wanted.product, "version": target, "before": before, "event": event.seq})

    def _cannot(self, product: str, before: str, target: str) -> str | None:
        if not before and not target and not _is_known(product):
            return f"{product} has no versions, so there is nothing to go back from; see the products with changeover status"
        if not before or not target:
            return f"{product} has no {'previous version' if before else 'champion'} to go {'back to' if before else 'back from'}"
        facts = version_facts(product, target, self._trail)
        problem = sign_off_problem(facts) or approval_problem(facts, self._trail)
        return f"cannot go back to version {target} of {product}: {problem}" if problem else None

    def confirm(self) -> Answer:
        """A person of quality assurance has looked at a flag."""
        who = person()
        wanted = sent(Confirmation)
        with self._gate.transaction():
            flag = next((event for event in flags(self._trail) if event.seq == wanted.event), None)
            problem = foreign_page() or self._may_not_confirm(who, wanted.event, flag)
            entry = Entry(
                actor=who.name, action=CONFIRM, product=flag.product if flag else "",
                version=flag.version if flag else "", subject=str(wanted.event), address=request.remote_addr or "",
                after=flag.subject if flag is not None and flag.action == FLAGGED else "",
                allowed=problem is None, reason=problem or wanted.reason,
            )  # fmt: skip
            self._trail.append(entry)
        return refusal(403, problem) if problem else jsonify({"confirmed": wanted.event})

    def _may_not_confirm(self, who: Person, number: int, flag: Event | None) -> str | None:
        if not who.holds(QA):
            return f"{who} may not confirm a flag: only role {QA} does; ask quality assurance"
        if problem := may_decide(who):
            return problem
        if flag is None:
            return f"event {number} is no open flag; changeover status shows those that are"
        if who.name in (flag.actor, flag.subject):
            return f"'{who.name}' did what event {number} flags: another person of role {QA} confirms it"
        own = self._gate.people.fresh_since(who.name)
        if own is not None and self._is_any_vouched_for():
            return (
                f"'{own.actor}' could log in as '{who.name}' ({own.action}, event {own.seq}), and nobody has confirmed since"
                f" who '{who.name}' is: somebody whose own account was confirmed confirms this"
            )
        return None

    def _is_any_vouched_for(self) -> bool:
        """Whether any account was ever confirmed, or is older than such events: in a new plant the first two have to begin. Who
        resets every account that was confirmed does not begin anew."""
        people = self._gate.people
        return people.was_any_confirmed() or any(people.fresh_since(name) is None for name in qa_people() if name != SERVER)

    def flags(self) -> Answer:
        """Open flags, oldest first."""
        return jsonify({"flags": [event.model_dump(mode="json") for event in flags(self._trail)]})


def qa_people() -> list[str]:
    """Names of all who hold role qa now."""
    from mlflow.server.auth import store

    return [user.username for user, roles in store.list_users_with_roles() if any(role.name == QA for role in roles)]


def _is_known(product: str) -> bool:
    return any(model.name == product for model in models())


def _holder(product: str, alias: str) -> str:
    """Like ``attempts.holder``, and empty for a product that is not there."""
    return holder(product, alias) if _is_known(product) else ""
