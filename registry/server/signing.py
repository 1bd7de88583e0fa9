"""Signing on the review page or from a terminal: one request, one judgement, one change.

POST /changeover/sign  {product, version, decision, meaning, reason, password, way, notes}

The signer's password is asked for again. On the page the report must have been opened before. The same decision by the same
person in the same words changes nothing; anything else asks for the present decision to be withdrawn first.
"""

from dataclasses import replace
from typing import Final, Literal, Protocol

from flask import Flask, jsonify, request
from pydantic import Field, field_validator

from registry.names import (
    TAG_BY,
    TAG_DIGEST,
    TAG_NOTES,
    TAG_NOTES_BY,
    TAG_QA,
    TAG_REASON,
    TAG_REASON_BY,
    TAG_WAIVED_BY,
    TAG_WAIVER,
    WAIVED,
)
from registry.rules import rules, stamps
from registry.rules.facts import Person, VersionFacts
from registry.rules.notes import Note, written_notes
from registry.rules.signing_rules import may_sign, may_waive
from registry.server.attempts import decision_problem, version_facts
from registry.server.authorisation import Authorisation, foreign_page, person
from registry.server.bodies import OfProduct, sent
from registry.server.endpoints import Answer, add_route, refusal
from registry.server.webhook import announce
from registry.trail.entries import clean
from registry.trail.events import Entry, Trail

OPENED: Final = "report.open"


class PasswordCheck(Protocol):
    """``registry.server.log_ins.LogIns``: looks at a password anew, and slows down who guesses."""

    def verify(self, user: str, password: str, address: str) -> str | None: ...


class Signature(OfProduct):
    """Body of the request."""

    version: str = Field(pattern=r"^[1-9][0-9]{0,8}$")
    decision: Literal["approved", "rejected", "pending", "waived"]
    meaning: Literal["reviewed", "approved", "responsible"] = "approved"
    reason: str = Field(min_length=1, max_length=2000, pattern=r"\S")
    password: str = Field(min_length=1, max_length=1024, repr=False)
    way: Literal["page", "terminal"]
    notes: tuple[Note, ...] = Field((), max_length=50, strict=False)

    @field_validator("reason", mode="after")
    @classmethod
    def _storable(cls, reason: str) -> str:
        return str(clean(reason))


class Signing:
    """The view, behind one gate."""

    def __init__(self, trail: Trail, gate: Authorisation, passwords: PasswordCheck) -> None:
        self._trail, self._gate, self._passwords = trail, gate, passwords

    def install(self, app: Flask) -> None:
        """Adds the address to ``app``."""
        add_route(app, "/changeover/sign", "POST", self.sign)

    def sign(self) -> Answer:
        """Decides on a version, as the user who asks."""
        who = person()
        wanted = sent(Signature)
        # Outside the lock: looking at a password takes its time, on purpose.
        wrong = foreign_page() or self._passwords.verify(who.name, wanted.password, request.remote_addr or "")
        with self._gate.transaction():
            facts = version_facts(wanted.product, wanted.version, self._trail)
            if wrong is None and self._is_so_already(who, facts, wanted):
                return jsonify({"changed": False, "decision": facts.decision})
            problem = wrong or self._problem(who, facts, wanted)
            if problem is not None:
                key, value = (TAG_WAIVER, wanted.reason) if wanted.decision == WAIVED else (TAG_QA, wanted.decision)
                self._record(who, facts, key, value, problem=problem)
                return refusal(403, problem)
            self._do(who, facts, wanted)
        if wanted.decision != WAIVED:
            announce(wanted.product, wanted.version, TAG_QA, wanted.decision)
        return jsonify({"changed": True, "decision": wanted.decision})

    @staticmethod
    def _is_so_already(who: Person, facts: VersionFacts, wanted: Signature) -> bool:
        if wanted.decision == WAIVED:
            return facts.tags.get(TAG_WAIVER) == wanted.reason and facts.tags.get(TAG_WAIVED_BY) == who.name
        same = (facts.decision, facts.tags.get(TAG_BY), facts.tags.get(TAG_REASON)) == (wanted.decision, who.name, wanted.reason)
        return same and wanted.decision != "pending"

    def _problem(self, who: Person, facts: VersionFacts, wanted: Signature) -> str | None:
        if problem := rules.not_for_a_line(facts):
            return problem
        if wanted.decision == WAIVED:
            problem = may_waive(who, facts, wanted.reason)
        else:
            problem = may_sign(who, self._in_their_words(who, facts, wanted), wanted.decision)
            problem = problem or decision_problem(facts, wanted.decision, self._trail)
        if problem is not None or wanted.decision == "pending":
            return problem
        return self._way_problem(who, facts, wanted.way)

    def _way_problem(self, who: Person, facts: VersionFacts, way: str) -> str | None:
        page = f"/changeover/review?product={facts.product}&version={facts.version}"
        if self._gate.signature == rules.STRICT and way != "page":
            return f"this plant has signatures on the review page alone (signature: strict): sign {facts} on {page}"
        if self._gate.signature == rules.STRICT and not self._gate.people.has_name(who.name):
            return (
                f"no full name of '{who.name}' is on record, and a signature shows it: an administrator enters it with"
                f" 'changeover users name {who.name} FULL NAME'"
            )
        if way == "page" and not self.opened(who.name, facts):
            return f"'{who.name}' has not opened the report of {facts}: open it on {page}, read it, then sign"
        return None

    def opened(self, user: str, facts: VersionFacts) -> bool:
        """Whether ``user`` opened the report of this very version on the review page."""
        found = self._trail.find(
            actions=(OPENED,), product=facts.product, version=facts.version, digest=facts.digest, actor=user, allowed=True,
            after=facts.registered, at_most=1,
        )  # fmt: skip
        return bool(found)

    @staticmethod
    def _in_their_words(who: Person, facts: VersionFacts, wanted: Signature) -> VersionFacts:
        tags = {key: value for key, value in facts.tags.items() if key not in (TAG_NOTES, TAG_NOTES_BY)}
        return replace(facts, tags=tags | {TAG_REASON: wanted.reason, TAG_REASON_BY: who.name})

    def _do(self, who: Person, facts: VersionFacts, wanted: Signature) -> None:
        """Events first: where the trail cannot be written, nothing happens. Then all tags at once, then what follows."""
        signer = stamps.Signer(who.name, self._gate.people.full_name(who.name), wanted.meaning, wanted.way)
        if wanted.decision == WAIVED:
            self._record(who, facts, TAG_WAIVER, wanted.reason)
            tags = {TAG_WAIVER: wanted.reason}
            stamps.write(facts.product, facts.version, tags | stamps.stamped({**facts.tags, **tags}, TAG_WAIVER, signer))
            self._gate.flag_if_fresh(who, facts, WAIVED)
            return
        words: dict[str, str | None] = {TAG_QA: wanted.decision}
        if wanted.decision != "pending":
            drawn = written_notes(wanted.notes) if wanted.notes else None
            words |= {TAG_REASON: wanted.reason, TAG_REASON_BY: who.name}
            words |= {TAG_NOTES: drawn, TAG_NOTES_BY: who.name if drawn else None}
            self._record(who, facts, TAG_REASON, wanted.reason)
            if drawn:
                self._record(who, facts, TAG_NOTES, drawn)
        how = "" if (wanted.way, wanted.meaning) == ("terminal", "approved") else f" [{wanted.meaning}, {wanted.way}]"
        self._record(who, facts, TAG_QA, wanted.decision, reason=wanted.reason + how)
        tags = {key: value for key, value in ({**facts.tags, **words}).items() if value is not None}
        stamps.write(facts.product, facts.version, words | stamps.stamped(tags, TAG_QA, signer))
        self._gate.after_decision(who, facts, wanted.decision)

    def _record(self, who: Person, facts: VersionFacts, key: str, value: str, *, problem: str = "", reason: str = "") -> None:
        entry = Entry(
            actor=who.name, action="tag.set", product=facts.product, version=facts.version,
            digest=facts.tags.get(TAG_DIGEST, ""), subject=key, before=facts.tags.get(key, ""), after=value,
            address=request.remote_addr or "", allowed=not problem, reason=problem or reason,
        )  # fmt: skip
        self._trail.append(entry)
