"""The gate: hooks of the Flask application that judge, record and stamp every change of the registry.

MLflow's own check of user, password and permission runs first. What it lets pass is judged here by ``registry.rules``;
what it refuses is recorded here too, and answered with a sentence that MLflow's dialogs can show.

One lock a plant serialises gated changes, so that nothing moves between judging and doing. An allowed change is recorded
before it is done: where the trail cannot be written, nothing happens.
"""

import json
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from filelock import Timeout
from flask import Flask, Response, g, request
from mlflow.exceptions import MlflowException
from mlflow.server.auth import store as users

from registry import stamps
from registry.aliases import follow
from registry.attempts import Attempt, Reader
from registry.events import NOT_DONE, Entry, Trail
from registry.names import TAG_QA
from registry.routes import reader_of_request
from registry.rules import Person
from registry.seals import NOBODY, roles_of
from registry.turns import Turns

_LOCK_SECONDS = 30
LONGEST_ANSWER = 600


class Gate:
    """Judges requests of one server. ``state`` is the folder that all its workers share."""

    def __init__(self, trail: Trail, state: Path) -> None:
        self._trail = trail
        self._lock = Turns(state / "gate.lock")

    def install(self, app: Flask) -> None:
        """Adds the hooks; call it after MLflow's ``create_app``, so that users are known when ours run."""
        app.before_request(self._before)
        # Flask runs these in reverse order of registration: ours before MLflow's.
        app.after_request(self._after)
        app.teardown_request(self._release)

    def _before(self) -> Response | None:
        reader = reader_of_request()
        if reader is None:
            return None
        try:
            self._lock.acquire(timeout=_LOCK_SECONDS)
        except Timeout:
            return _answer(503, "TEMPORARILY_UNAVAILABLE", "another change of the registry takes too long; try again in a minute")
        g.changeover_locked = True
        g.changeover_judged = True
        attempt = self._judge(reader, person())
        if isinstance(attempt, Response):
            return attempt
        if attempt.refusal is not None:
            return self._refuse(attempt)
        if attempt.recorded and attempt.action != "register":  # a registration is recorded with its version's number
            self._record(attempt, allowed=True)
        if attempt.action in ("tag.set", "tag.delete"):
            # Old stamps go first: cut off anywhere from here, a decision is unstamped rather than stamped for another.
            stamps.clear(attempt)
        g.changeover_attempt = attempt
        return None

    def _judge(self, reader: Reader, who: Person) -> Attempt | Response:
        """The attempt in the current request, judged; MLflow's own answer where it speaks of what is not there."""
        try:
            attempt = reader(who, self._trail)
        except MlflowException as problem:  # no such version, no valid body
            self._append(who.name, Attempt(_route(), None), allowed=False, reason=problem.message)
            return Response(problem.serialize_as_json(), problem.get_http_status_code(), mimetype="application/json")
        foreign = foreign_page()
        return attempt if foreign is None else _with_refusal(attempt, foreign)

    def _after(self, response: Response) -> Response:
        attempt: Attempt | None = g.get("changeover_attempt")
        if attempt is None:
            return self._explain(response)
        if response.status_code >= 400:
            if attempt.recorded:
                self._append(person().name, attempt, allowed=False, reason=f"{NOT_DONE}: {_sentence(response)}")
            return response
        if attempt.action == "register":
            version = response.get_json()["model_version"]["version"]
            self._append(person().name, attempt, allowed=True, reason=attempt.reason, version=str(version))
        if attempt.action == "tag.set":
            stamps.add(attempt, person().name)
        if attempt.action in ("tag.set", "tag.delete") and attempt.subject == TAG_QA:
            follow(attempt, self._trail, person().name, request.remote_addr or "")
        return response

    def _explain(self, response: Response) -> Response:
        """Records what MLflow itself refused, and says it so that people can read it."""
        if g.get("changeover_judged") or response.status_code not in (401, 403):
            return response
        reader = reader_of_request()
        if reader is None:
            return response
        if response.status_code == 401 or not g.get("mlflow_authenticated_user"):
            reason = "no valid user name and password" if response.status_code == 401 else _sentence(response)
            self._append(NOBODY, Attempt(_route(), None), allowed=False, reason=reason)
            return response
        attempt = self._judge(reader, person())
        if isinstance(attempt, Response):
            return attempt
        sentence = f"MLflow's own permissions refuse {person()} this change; ask an administrator to look at the role"
        return self._refuse(attempt if attempt.refusal else _with_refusal(attempt, sentence))

    def _refuse(self, attempt: Attempt) -> Response:
        self._record(attempt, allowed=False)
        return _answer(403, "PERMISSION_DENIED", attempt.refusal or "")

    def _record(self, attempt: Attempt, *, allowed: bool) -> None:
        self._append(person().name, attempt, allowed=allowed, reason=attempt.reason if allowed else attempt.refusal or "")

    def _append(self, actor: str, attempt: Attempt, *, allowed: bool, reason: str = "", version: str = "") -> None:
        self._trail.append(
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
    def locked(self) -> Iterator[None]:
        """The lock of gated changes, for our own endpoints that make some; ``filelock.Timeout`` after half a minute."""
        with self._lock.acquire(timeout=_LOCK_SECONDS):
            yield

    def _release(self, _problem: BaseException | None) -> None:
        if g.pop("changeover_locked", False):
            self._lock.release()


def person() -> Person:
    """The authenticated user of the current request."""
    user = users.get_user(g.mlflow_authenticated_user)
    return Person(user.username, roles_of(user))


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


def _answer(status: int, code: str, sentence: str) -> Response:
    # One line, and not the length of whatever a client sent.
    line = textwrap.shorten(sentence, LONGEST_ANSWER, placeholder=" …")
    return Response(json.dumps({"error_code": code, "message": line}), status, mimetype="application/json")


def _sentence(response: Response) -> str:
    body = response.get_json(silent=True)
    return str(body.get("message", ""))[:500] if isinstance(body, dict) else f"status {response.status_code}"
