"""The gate: hooks of the Flask application that judge, record and stamp every change of the registry.

MLflow's own check of user, password and permission runs first. What it lets pass is judged here by ``registry.rules.rules``;
what it refuses is recorded here too, and answered with a sentence that MLflow's dialogs can show.

One lock a plant serialises gated changes, so that nothing moves between judging and doing. A change and its events are one
transaction (``registry.trail.transaction``): where the trail cannot be written nothing happens, and where the change fails or
the process dies nothing is on record as done."""

import json
import logging
import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from filelock import Timeout
from flask import Flask, Response, current_app, g, request
from mlflow.exceptions import MlflowException
from mlflow.server.auth import store as users
from mlflow.server.handlers import _get_model_registry_store
from sqlalchemy.exc import SQLAlchemyError

from registry.errors import RegistryError
from registry.names import CANDIDATE, FLAGGED, TAG_QA, TAG_WAIVER, WAIVED
from registry.rules import stamps
from registry.rules.facts import Person, VersionFacts
from registry.rules.files import Files
from registry.rules.rules import TAGS, set_alias
from registry.secrets import publisher_key_file
from registry.server import registration
from registry.server.aliases import SERVER, Aliases
from registry.server.artifact_gate import EXCHANGED, WRITE, roles_of
from registry.server.attempts import Attempt, Reader, version_facts
from registry.server.fair_lock import LOCK_SECONDS, FairLock
from registry.server.graphql_body import graphql_problem
from registry.server.inner_text import without_inner_text
from registry.server.routes import reader_of_request
from registry.server.shown import refuse_shown
from registry.trail.events import NOT_DONE, Entry, Trail
from registry.trail.people import People
from registry.trail.transaction import Transactions

_LOG = logging.getLogger(__name__)
LONGEST_ANSWER: Final = 600
EXTENSION: Final = "changeover"
"""Under this name Flask's application keeps the gate."""
_CREATE_VERSION: Final = re.compile(r"/(?:ajax-)?api/2\.0/mlflow/model-versions/create", re.ASCII)


class Authorisation:
    """Judges requests of one server. ``state`` is the folder that all its workers share, ``published`` the one that the line
    reads, ``signature`` ``rules.TAGS`` or ``rules.STRICT``."""

    def __init__(
        self, trail: Trail, transactions: Transactions, state: Path, published: Path | None = None, signature: str = TAGS
    ) -> None:
        self.trail = trail
        self.transactions = transactions
        self.lock = FairLock(state / "gate.lock")
        self.files = Files(state)
        self.people = People(trail)
        self.aliases = Aliases(trail, transactions, published, publisher_key_file(state))
        self.signature = signature

    def install(self, app: Flask) -> None:
        """Adds the hooks; call it after MLflow's ``create_app``, so that users are known when ours run."""
        app.extensions[EXTENSION] = self
        for rule in app.url_map.iter_rules():
            if _CREATE_VERSION.fullmatch(rule.rule):
                app.view_functions[rule.endpoint] = registration.create_version
        app.before_request(self._before)
        # Flask runs these in reverse order of registration: ours before MLflow's.
        app.after_request(self._after)
        # After MLflow's, which gives permissions to who made something: that belongs to the transaction.
        app.after_request_funcs[None].insert(0, self._finish)
        app.teardown_request(self._release)

    def _before(self) -> Response | None:
        if request.method == "GET" or request.path == "/graphql":
            return self._before_reading()
        reader = reader_of_request()
        if reader is None:
            return None
        try:
            self.lock.acquire(timeout=LOCK_SECONDS)
        except Timeout:
            return answer(503, "TEMPORARILY_UNAVAILABLE", "another change of the registry takes too long; try again in a minute")
        g.changeover_locked = True
        g.changeover_judged = True
        attempt = self._check(reader, person())
        if isinstance(attempt, Response):
            return attempt
        if attempt.refusal is not None:
            return self._refuse(attempt)
        g.changeover_attempt = attempt
        if attempt.recorded:
            self._begin(attempt)
        return None

    def _begin(self, attempt: Attempt) -> None:
        """What comes before MLflow does what was allowed."""
        if attempt.action != WRITE:  # files cannot be undone: their event is certain before they are written
            self.transactions.begin()
        if attempt.action != "register":  # a registration is recorded with its version's number
            self._record(attempt, allowed=True)
        if attempt.action == "tag.delete":
            stamps.write(attempt.product, attempt.version, stamps.cleared(attempt.subject))

    def _before_reading(self) -> Response | None:
        if request.path == "/graphql":  # its one mutation echoes
            problem = graphql_problem()
            return None if problem is None else answer(400, "INVALID_PARAMETER_VALUE", problem)
        refusal = refuse_shown(self.files)
        return None if refusal is None else answer(409, EXCHANGED, refusal)

    def _check(self, reader: Reader, who: Person) -> Attempt | Response:
        """The attempt in the current request, judged; MLflow's own answer where it speaks of what is not there."""
        try:
            attempt = reader(who, self.trail)
        except MlflowException as problem:  # no such version, no valid body
            self._append(who.name, Attempt(_route(), None), allowed=False, reason=plainly(problem.message))
            return Response(problem.serialize_as_json(), problem.get_http_status_code(), mimetype="application/json")
        except RegistryError as problem:  # the trail does not hold
            return answer(503, "TEMPORARILY_UNAVAILABLE", f"{problem}")
        foreign = foreign_page()
        return attempt if foreign is None else _with_refusal(attempt, foreign)

    def _after(self, response: Response) -> Response:
        attempt: Attempt | None = g.get("changeover_attempt")
        if attempt is None:
            return self._explain(response)
        if response.status_code >= 400:
            return response
        who = person()
        if attempt.action == "register":
            version = response.get_json()["model_version"]["version"]
            self._append(who.name, attempt, allowed=True, reason=attempt.reason, version=str(version))
            self._make_candidate(who, version_facts(attempt.product, str(version), self.trail))
        if attempt.action == "tag.set":
            tags = _get_model_registry_store().get_model_version(attempt.product, attempt.version).tags
            meaning = "approved" if attempt.after == "approved" else "reviewed"
            signer = stamps.Signer(who.name, self.people.full_name(who.name), meaning, "tag")
            stamps.write(attempt.product, attempt.version, stamps.stamped(tags, attempt.subject, signer))
        if (attempt.action, attempt.subject) == ("tag.set", TAG_WAIVER):
            self.flag_if_fresh(who, version_facts(attempt.product, attempt.version, self.trail), WAIVED)
        if attempt.action in ("tag.set", "tag.delete") and attempt.subject == TAG_QA:
            self.after_decision(who, version_facts(attempt.product, attempt.version, self.trail), attempt.after)
        return response

    def _make_candidate(self, who: Person, facts: VersionFacts) -> None:
        """A new version whose gates passed is what quality assurance looks at next."""
        if set_alias(who, facts, CANDIDATE) is None:
            entry = Entry(
                actor=who.name, action="alias.set", address=request.remote_addr or "", allowed=True,
                reason="it was registered, and its gates passed",
            )  # fmt: skip
            self.aliases.move(facts.product, CANDIDATE, facts.version, entry)

    def _finish(self, response: Response) -> Response:
        """Ends the transaction of the current request: done as a whole, or not at all, and then that is on record."""
        attempt: Attempt | None = g.get("changeover_attempt")
        if attempt is None or not attempt.recorded:
            return response
        if response.status_code >= 400:
            self.transactions.abandon()
            self._append(person().name, attempt, allowed=False, reason=f"{NOT_DONE}: {_sentence(response)}")
            return response
        try:
            self.transactions.finish()
        except SQLAlchemyError as problem:
            why = "the database failed while the change was made certain: look it up with history before you try again"
            _LOG.error("%s: %s", why, problem)
            return answer(503, "TEMPORARILY_UNAVAILABLE", why)
        return response

    def after_decision(self, who: Person, facts: VersionFacts, decision: str) -> None:
        """What follows at once from what ``who`` decided on a version: aliases, the line, and a flag on a fresh account's."""
        self.flag_if_fresh(who, facts, decision or "pending")
        self.aliases.follow(facts.product, facts.version, decision, who.name, request.remote_addr or "")

    def flag_if_fresh(self, who: Person, facts: VersionFacts, decision: str) -> None:
        """Flags what ``who`` decided on a version (sign-off, waiver, roll-back), where somebody else could have done it."""
        fresh = self.people.fresh_since(who.name)
        if fresh is None:
            return
        why = (
            f"the first signature ({decision}) of '{who.name}' since '{fresh.actor}' could log in as that person, or made that"
            f" person a signer ({fresh.action}, event {fresh.seq}): a second person confirms who signed"
        )
        entry = Entry(
            actor=SERVER, action=FLAGGED, product=facts.product, version=facts.version, digest=facts.digest,
            subject=who.name, address=request.remote_addr or "", allowed=True, reason=why,
        )  # fmt: skip
        self.trail.append(entry)

    def _explain(self, response: Response) -> Response:
        """Records what MLflow itself refused, and says it so that people can read it."""
        if g.get("changeover_judged") or response.status_code != 403 or not g.get("mlflow_authenticated_user"):
            return response
        reader = reader_of_request()
        if reader is None:
            return response
        attempt = self._check(reader, person())
        if isinstance(attempt, Response):
            return attempt
        sentence = f"MLflow's own permissions refuse {person()} this change; ask an administrator to look at the role"
        return self._refuse(attempt if attempt.refusal else _with_refusal(attempt, sentence))

    def _refuse(self, attempt: Attempt) -> Response:
        self._record(attempt, allowed=False)
        return answer(403, "PERMISSION_DENIED", attempt.refusal or "")

    def _record(self, attempt: Attempt, *, allowed: bool) -> None:
        self._append(person().name, attempt, allowed=allowed, reason=attempt.reason if allowed else attempt.refusal or "")

    def _append(self, actor: str, attempt: Attempt, *, allowed: bool, reason: str = "", version: str = "") -> None:
        self.trail.append(
            Entry(
                actor=actor,
                action=attempt.action,
                product=attempt.product,
                version=version or attempt.version,
                digest=attempt.digest,
                subject=attempt.subject,
                before=attempt.before,
                after=attempt.after,
                address=request.remote_addr or "",
                allowed=allowed,
                reason=reason,
            )
        )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A change that one of our own endpoints makes: alone, and with its events in one transaction. ``filelock.Timeout`` after
        half a minute."""
        with self.turn(), self.transactions.one():
            yield

    @contextmanager
    def turn(self) -> Iterator[None]:
        """The lock of all changes, for a change without a transaction; ``filelock.Timeout`` after half a minute."""
        with self.lock.acquire(timeout=LOCK_SECONDS):
            yield

    def _release(self, _problem: BaseException | None) -> None:
        self.transactions.abandon()  # where an answer failed so early that nobody ended it
        if g.pop("changeover_locked", False):
            self.lock.release()


def person() -> Person:
    """The authenticated user of the current request."""
    if "changeover_person" not in g:
        user = users.get_user(g.mlflow_authenticated_user)
        gate: Authorisation = current_app.extensions[EXTENSION]
        g.changeover_person = Person(user.username, roles_of(user), gate.people.password_by(user.username))
    found: Person = g.changeover_person
    return found


def foreign_page() -> str | None:
    """Refusal of a request that a page of another server made a browser send; None for our own pages and for programs.

    MLflow lets pages of any port of this machine send requests with a visitor's password.
    """
    origin = request.headers.get("Origin")
    if origin is None or urlsplit(origin).netloc == request.host:
        return None
    return f"a page of {origin} may not change the registry; use the registry's own pages"


def _with_refusal(attempt: Attempt, refusal: str) -> Attempt:
    return replace(attempt, refusal=attempt.refusal or refusal)


def _route() -> str:
    return f"{request.method} {request.path}"


def _sentence(response: Response) -> str:
    """What an answer says, for the trail."""
    body = response.get_json(silent=True)
    message = body.get("message") if isinstance(body, dict) else None
    return plainly(str(message)) if message else f"status {response.status_code}"


def plainly(text: str) -> str:
    """A message of MLflow's, for the trail: one line, without what a database said inside it."""
    return textwrap.shorten(without_inner_text(text), LONGEST_ANSWER, placeholder=" …")


def answer(status: int, code: str, sentence: str) -> Response:
    """An error in MLflow's form: one line, and not the length of whatever a client sent."""
    line = textwrap.shorten(sentence, LONGEST_ANSWER, placeholder=" …")
    return Response(json.dumps({"error_code": code, "message": line}), status, mimetype="application/json")
