"""Closes the files behind registered versions, lets only the trainer write artifacts at all, and shows no exchanged ones.

MLflow answers uploads and downloads of artifacts in FastAPI, past Flask and its hooks, so this gate stands in front of both as
ASGI middleware. Paths reach it in normal form only (``registry.server.front``), so what it judges is what is served.

An upload may take as long as it likes; its last piece is handed on under the gate's lock, after another look at the seal. So a
version that was registered meanwhile keeps the files that it had.
"""

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread
from filelock import Timeout
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry.errors import RegistryError
from registry.names import ADMIN, TRAINER
from registry.server.closed import why_closed
from registry.server.fair_lock import LOCK_SECONDS, FairLock
from registry.trail.events import NOT_DONE, Entry, Trail

if TYPE_CHECKING:
    from registry.rules.files import Files

_READS = ("GET", "HEAD", "OPTIONS")
_ARTIFACTS = re.compile(r"/(?:ajax-)?api/2\.0/mlflow-artifacts/artifacts/(.*)", re.DOTALL)
_RUN = re.compile(r"[0-9a-f]{32}", re.ASCII)
_MODEL = re.compile(r"m-[0-9a-f]{32}", re.ASCII)
_WRITABLE = re.compile(r"\d{1,20}/(?:models/)?((?:m-)?[0-9a-f]{32})/artifacts/(.+)", re.ASCII | re.DOTALL)
_JOBS: Final = "/ajax-api/3.0/jobs/search"  # a POST that only reads, and only one's own
NOBODY: Final = "(unauthenticated)"
WRITE: Final = "artifact.write"
EXCHANGED: Final = "FILES_EXCHANGED"
"""Code of the answer in place of a file that is not shown."""
_WAITING: Final = 16


def sealed_by(identity: str) -> str | None:
    """The registered version behind a run or logged model, as "version 3 of bolt-m6"; None where there is none."""
    found = _version_of(identity)
    return f"version {found.version} of {found.name}" if found is not None else None


def holds_versions(experiment: str) -> str | None:
    """A registered version that was made in the experiment of this name, like that; None where there is none.

    By name, not by number: MLflow reads " 2" and "+2" as 2.
    """
    from mlflow.server.handlers import _get_model_registry_store

    quoted = experiment.replace("'", "")
    found = _get_model_registry_store().search_model_versions(f"name = '{quoted}'", max_results=1)
    return f"version {found[0].version} of {found[0].name}" if found else None


def _version_of(identity: str) -> Any:
    from mlflow.server.handlers import _get_model_registry_store

    if _RUN.fullmatch(identity):
        query = f"run_id = '{identity}'"
    elif _MODEL.fullmatch(identity):
        query = f"source_path = 'models:/{identity}'"
    else:
        return None
    found = _get_model_registry_store().search_model_versions(query, max_results=1)
    return found[0] if found else None


def exchanged(identity: str, files: "Files") -> str | None:
    """Why nothing is shown of the run or logged model ``identity``: it stands behind a version, and not all of its files are
    those that were registered. None where they are, or where no version stands on it."""
    from registry.server.attempts import facts_of

    found = _version_of(identity)
    return None if found is None else files.problem(facts_of(found), remembered=True)


def refuse_artifact(name: str, roles: frozenset[str], path: str) -> str | None:
    """Why the user ``name`` may not write the artifact at ``path``; None when they may."""
    if TRAINER not in roles and ADMIN not in roles:
        return f"'{name}' may not write artifacts: only role {TRAINER} does, in a changeover; ask an administrator"
    found = _WRITABLE.fullmatch(path)
    # A path that any later step could read in another way is no path of ours.
    plain = path.isprintable() and "%" not in path and "\\" not in path
    if found is None or not plain or any(part in ("", ".", "..") for part in path.split("/")):
        return f"'{path}' is no place for an artifact: <experiment>/<run>/artifacts/<file>, plainly written; rename the file"
    return _sealed(path)


def _sealed(path: str) -> str | None:
    found = _WRITABLE.fullmatch(path)
    if found is not None and (sealed := sealed_by(found.group(1))):
        return f"{path} belongs to {sealed} and is closed with its registration; train again for a new version"
    return None


class ArtifactGate:
    """ASGI middleware: judges every request that MLflow answers outside Flask."""

    def __init__(self, app: ASGIApp, trail: Trail, lock: FairLock, files: "Files") -> None:
        self._app, self._trail, self._lock, self._files = app, trail, lock, files
        # Threads of their own: those that wait for the lock must not take the last one from who holds it.
        self.waiting = anyio.CapacityLimiter(_WAITING)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        # MLflow's Flask application answers what else there is to write artifacts with.
        artifact = _ARTIFACTS.fullmatch(scope["path"]) if scope["method"] in (*_READS, "PUT") else None
        if scope["method"] in _READS:
            if closed := why_closed(scope["method"], scope["path"]):
                await _answer(send, 403, "PERMISSION_DENIED", closed)
                return
            refusal = None if artifact is None else await anyio.to_thread.run_sync(self._exchanged, artifact.group(1))
            await (self._app(scope, receive, send) if refusal is None else _answer(send, 409, EXCHANGED, refusal))
            return
        try:
            path = None if artifact is None else artifact.group(1)
            user, refusal = await anyio.to_thread.run_sync(self._authorise, request, path)
            if refusal is not None:
                await _answer(send, 403, "PERMISSION_DENIED", refusal)
            elif path is None or user is None:
                await self._app(scope, receive, send)
            else:
                await _Upload(self, request, user, path).run(scope, receive, send)
        except (Timeout, RegistryError) as problem:
            why = "another change of the registry takes too long" if isinstance(problem, Timeout) else str(problem)
            await _answer(send, 503, "TEMPORARILY_UNAVAILABLE", f"{why}; try again in a minute")

    def _authorise(self, request: Request, artifact: str | None) -> tuple[str | None, str | None]:
        """Who asks for what MLflow answers outside Flask, and why they may not; the gate inside Flask judges everything else."""
        from mlflow.server import auth

        path: str = request.scope["path"]
        closed = why_closed(request.method, path)
        if artifact is None and closed is None and auth._find_fastapi_validator(path, request.method) is None:
            return None, None
        user = auth._authenticate_fastapi_request(request)
        if user is None:
            return None, None  # MLflow answers 401
        roles = roles_of(user)
        if artifact is not None:
            refusal = refuse_artifact(user.username, roles, artifact)
        elif closed is not None or ADMIN in roles or path == _JOBS:
            refusal = closed
        else:
            refusal = f"'{user.username}' may not use {request.method} {path}: only role {ADMIN} does; ask an administrator"
        if refusal is not None or (artifact is None and path != _JOBS):
            self.record(request, user.username, path if artifact is None else artifact, refusal=refusal or "")
        return user.username, refusal

    def record(self, request: Request, actor: str, subject: str, *, refusal: str = "", digest: str = "") -> None:
        """Appends an event; ``digest``: sha256 of what is written, which is allowed where there is no ``refusal``."""
        address = request.client.host if request.client else ""
        action = WRITE if _ARTIFACTS.fullmatch(request.scope["path"]) else f"{request.method} {request.scope['path']}"
        entry = Entry(
            actor=actor, action=action, subject=subject, address=address, digest=digest, allowed=not refusal, reason=refusal
        )
        self._trail.append(entry)

    def _exchanged(self, path: str) -> str | None:
        found = re.match(r"\d{1,20}/(?:models/)?((?:m-)?[0-9a-f]{32})/", path, re.ASCII)
        return None if found is None else exchanged(found.group(1), self._files)

    def acquire(self) -> None:
        """The lock of all changes; ``filelock.Timeout``."""
        self._lock.acquire(timeout=LOCK_SECONDS)

    def release(self) -> None:
        """Gives the lock back."""
        self._lock.release()


class _Upload:
    """One upload that was let in."""

    def __init__(self, gate: ArtifactGate, request: Request, user: str, path: str) -> None:
        self._gate, self._request, self._user, self._path = gate, request, user, path
        self._digest = hashlib.sha256()
        self._held = False
        self._refusal = ""
        self._status = 0

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def pieces() -> Message:
            message = await receive()
            if message["type"] != "http.request":
                return message
            self._digest.update(message.get("body", b""))
            if not message.get("more_body", False) and not self._held:
                await anyio.to_thread.run_sync(self._check_seal, limiter=self._gate.waiting)
                if self._refusal:
                    return {"type": "http.disconnect"}  # MLflow throws away what it has
            return message

        async def answer(message: Message) -> None:
            if self._refusal:
                return  # answered below
            if message["type"] == "http.response.start":
                self._status = message["status"]
            await send(message)

        try:
            try:
                await self._gate._app(scope, pieces, answer)
            except Exception:
                if not self._refusal:
                    raise
            if self._refusal:
                await _answer(send, 403, "PERMISSION_DENIED", self._refusal)
            elif self._held and self._status >= 400:
                why = f"{NOT_DONE}: status {self._status}"
                await anyio.to_thread.run_sync(lambda: self._gate.record(self._request, self._user, self._path, refusal=why))
        finally:
            if self._held:
                self._gate.release()

    def _check_seal(self) -> None:
        self._gate.acquire()
        self._held = True
        self._refusal = _sealed(self._path) or ""
        self._gate.record(self._request, self._user, self._path, refusal=self._refusal, digest=self._digest.hexdigest())


async def _answer(send: Send, status: int, code: str, sentence: str) -> None:
    body = json.dumps({"error_code": code, "message": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def roles_of(user: Any) -> frozenset[str]:
    """Roles of an MLflow user: those of ours that were assigned to them, and ``admin`` for administrators."""
    from mlflow.server.auth import store

    from registry.names import ROLES

    held = {role.name for role in store.list_user_roles(user.id)}.intersection(ROLES) - {ADMIN}
    return frozenset(held | ({ADMIN} if user.is_admin else set()))
