"""Promotion on the server: every alias that it moves, in one transaction.

POST /changeover/promote  {product, version}   the promoter
"""

from typing import Final

from flask import Flask, jsonify, request
from pydantic import Field

from registry.names import CANDIDATE, CHAMPION, PREVIOUS
from registry.rules import rules
from registry.rules.facts import Person, VersionFacts
from registry.server.attempts import approval_problem, holder, version_facts
from registry.server.authorisation import Authorisation, foreign_page, person
from registry.server.bodies import OfProduct, sent
from registry.server.endpoints import Answer, add_route, refusal
from registry.trail.events import Entry, Trail

_SET: Final = "alias.set"


class Wanted(OfProduct):
    """Body of the request."""

    version: str = Field(pattern=r"^[1-9][0-9]{0,8}$")


class Promotions:
    """The view, on one trail, behind one gate."""

    def __init__(self, trail: Trail, gate: Authorisation) -> None:
        self._trail, self._gate = trail, gate

    def install(self, app: Flask) -> None:
        """Adds the address to ``app``."""
        add_route(app, "/changeover/promote", "POST", self.promote)

    def promote(self) -> Answer:
        """Makes a version the champion, and the champion ``previous``; the version is candidate no longer. Repeated, it changes
        nothing."""
        who = person()
        wanted = sent(Wanted)
        with self._gate.transaction():
            facts = version_facts(wanted.product, wanted.version, self._trail)
            former = holder(wanted.product, CHAMPION)
            step = Entry(actor=who.name, action=_SET, address=request.remote_addr or "", allowed=True)
            problem = foreign_page() or self._problem(who, facts)
            if problem is not None:
                entry = Entry(
                    actor=who.name, action=_SET, product=facts.product, version=facts.version, digest=facts.digest,
                    subject=CHAMPION, before=former, after=facts.version, address=request.remote_addr or "", allowed=False,
                    reason=problem,
                )  # fmt: skip
                self._trail.append(entry)
                return refusal(403, problem)
            changed = former != facts.version
            if changed:
                if former:
                    self._gate.aliases.move(facts.product, PREVIOUS, former, step)
                self._gate.aliases.move(facts.product, CHAMPION, facts.version, step)
            if CANDIDATE in facts.aliases:
                self._gate.aliases.move(facts.product, CANDIDATE, "", step.model_copy(update={"action": "alias.delete"}))
            previous = holder(facts.product, PREVIOUS)
        return jsonify({"version": facts.version, "previous": previous or None, "changed": changed})

    def _problem(self, who: Person, facts: VersionFacts) -> str | None:
        return rules.set_alias(who, facts, CHAMPION) or approval_problem(facts, self._trail)
