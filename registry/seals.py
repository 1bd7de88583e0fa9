"""Closes the files behind registered versions, and lets only the trainer write artifacts at all.

MLflow answers uploads in FastAPI, past Flask and its hooks, so this gate stands in front of both as ASGI middleware.
"""

import json
import re
from typing import Any

import anyio.to_thread
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from registry.events import Entry, Trail
from registry.names import ADMIN, TRAINER

_READS = ("GET", "HEAD", "OPTIONS")
_ARTIFACTS = re.compile(r"/(?:ajax-)?api/2\.0/mlflow-artifacts/(?:artifacts|mpu/[a-z]+|presigned)(?:/(.*))?", re.DOTALL)
_RUN = re.compile(r"[0-9a-f]{32}", re.ASCII)
_MODEL = re.compile(r"m-[0-9a-f]{32}", re.ASCII)
_WRITABLE = re.compile(r"\d{1,20}/(?:models/)?((?:m-)?[0-9a-f]{32})/artifacts/(.+)", re.ASCII | re.DOTALL)
NOBODY = "(unauthenticated)"


def sealed_by(identity: str) -> str | None:
    """The registered version behind a run or logged model, as "version 3 of bolt-m6"; None where there is none."""
    from mlflow.server.handlers import _get_model_registry_store

    if _RUN.fullmatch(identity):
        query = f"run_id = '{identity}'"
    elif _MODEL.fullmatch(identity):
        query = f"source_path = 'models:/{identity}'"
    else:
        return None
    found = _get_model_registry_store().search_model_versions(query, max_results=1)
    return f"version {found[0].version} of {found[0].name}" if found else None


def refuse_artifact(name: str, roles: frozenset[str], path: str) -> str | None:
    """Why the user ``name`` may not write the artifact at ``path``; None when they may."""
    if TRAINER not in roles and ADMIN not in roles:
        return f"'{name}' may not write artifacts: only role {TRAINER} does, in a changeover; ask an administrator"
    found = _WRITABLE.fullmatch(path)
    # A path that any later step could read in another way is no path of ours.
    plain = path.isprintable() and "%" not in path and "\\" not in path
    if found is None or not plain or any(part in ("", ".", "..") for part in path.split("/")):
        return f"'{path}' is no place for an artifact: <experiment>/<run>/artifacts/<file>, plainly written; rename the file"
    if sealed := sealed_by(found.group(1)):
        return f"{path} belongs to {sealed} and is closed with its registration; train again for a new version"
    return None


class ArtifactGate:
    """ASGI middleware: judges every writing request that MLflow answers outside Flask."""

    def __init__(self, app: ASGIApp, trail: Trail) -> None:
        self._app = app
        self._trail = trail

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in _READS:
            await self._app(scope, receive, send)
            return
        refusal = await anyio.to_thread.run_sync(self._judge, Request(scope))
        if refusal is None:
            await self._app(scope, receive, send)
            return
        body = json.dumps({"error_code": "PERMISSION_DENIED", "message": refusal}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 403, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _judge(self, request: Request) -> str | None:
        from mlflow.server import auth

        path: str = request.scope["path"]
        artifact = _ARTIFACTS.fullmatch(path)
        if artifact is None and auth._find_fastapi_validator(path, request.method) is None:
            return None  # Flask answers it, and the gate inside Flask judges it
        user = auth._authenticate_fastapi_request(request)
        if user is None:
            if artifact is not None:
                self._record(request, NOBODY, artifact.group(1) or "", "no valid user name and password")
            return None  # MLflow answers 401
        roles = roles_of(user)
        if artifact is not None:
            refusal = refuse_artifact(user.username, roles, artifact.group(1) or "")
        elif ADMIN in roles or path.endswith("/search"):
            refusal = None
        else:
            refusal = f"'{user.username}' may not use {request.method} {path}: only role {ADMIN} does; ask an administrator"
        if refusal is not None:
            self._record(request, user.username, artifact.group(1) or "" if artifact else path, refusal)
        return refusal

    def _record(self, request: Request, actor: str, subject: str, reason: str) -> None:
        address = request.client.host if request.client else ""
        self._trail.append(
            Entry(actor=actor, action="artifact.write", subject=subject, address=address, allowed=False, reason=reason)
        )


def roles_of(user: Any) -> frozenset[str]:
    """Roles of an MLflow user: those of ours that were assigned to them, and ``admin`` for administrators."""
    from mlflow.server.auth import store

    from registry.names import ROLES

    held = {role.name for role in store.list_user_roles(user.id)}.intersection(ROLES) - {ADMIN}
    return frozenset(held | ({ADMIN} if user.is_admin else set()))
