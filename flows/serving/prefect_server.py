"""Prefect's server as ``changeover up`` starts it: ``python -m flows.serving.prefect_server PORT``, on loopback.

It is the app that ``prefect server start`` serves, with its background services, behind a door of ours. Prefect itself
looks neither at Host nor at Origin, and a WebSocket may keep its password to itself for ever.
"""

import asyncio
import base64
import binascii
import os
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from flows.serving.door import complaint, own_hosts, own_origins
from flows.serving.prefect_password import FOR_THE_SERVER

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

FIRST_WORD_SECONDS: Final = 10.0
"""Within which a WebSocket has to give its password."""
POLICY_VIOLATION: Final = 1008


class Door:
    """Lets in what ``flows.serving.door`` lets in, to the app of a server at ``port``, and keeps its pages to that server."""

    def __init__(self, app: App, port: int) -> None:
        self._app, self._port = app, port
        own = " ".join((*own_origins(port), *(f"ws://{host}" for host in own_hosts(port))))
        # Prefect's pages keep the password in the browser and load a script that reports what is done there to its maker.
        # They ask nobody but us, and no page of another server shows them inside itself to catch the clicks.
        policy = (
            f"default-src 'self'; connect-src 'self' {own}; script-src 'self' 'unsafe-inline'; "
            "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
            "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
        )
        self._marks = ((b"content-security-policy", policy.encode()), (b"x-frame-options", b"DENY"))

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        problem = complaint(headers, self._port) or _unreadable_password(headers)
        if scope["type"] == "websocket":
            if problem is None:
                await self._app(scope, _in_time(receive), send)
            else:
                await receive()
                await send({"type": "websocket.close", "code": POLICY_VIOLATION})  # before it is accepted: 403
        elif problem is None:
            await self._app(scope, receive, self._marked(send))
        else:
            await _refuse(send, *problem)

    def _marked(self, send: Send) -> Send:
        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self._marks]
            await send(message)

        return marked


def _unreadable_password(headers: list[tuple[str, str]]) -> tuple[int, str] | None:
    """Prefect compares passwords as ASCII and fails on any other with status 500."""
    for name, value in headers:
        scheme, _, given = value.strip().partition(" ")
        if name.lower() == "authorization" and scheme == "Basic":
            try:
                base64.b64decode(given).decode("ascii")
            except (binascii.Error, ValueError):
                return 401, "Unauthorized"
    return None


def _in_time(receive: Receive) -> Receive:
    """``receive`` of a WebSocket that hangs up where the first message does not come in time."""
    first = True

    async def timed() -> Message:
        nonlocal first
        if not first:
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), FIRST_WORD_SECONDS)
        except TimeoutError:
            return {"type": "websocket.disconnect", "code": POLICY_VIOLATION, "reason": "no password in time"}
        first = message["type"] == "websocket.connect"
        return message

    return timed


async def _refuse(send: Send, status: int, sentence: str) -> None:
    import json

    body = json.dumps({"exception_message": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main(port: int) -> None:
    """Serve until told to end. Without a password nothing is served."""
    if ":" not in os.environ.get(FOR_THE_SERVER, ""):
        raise SystemExit(f"{FOR_THE_SERVER} is not set, and Prefect would let everybody in; start it with 'changeover up'")
    import uvicorn
    from prefect.server.api.server import create_app

    uvicorn.run(
        Door(create_app(final=True), port),
        host="127.0.0.1",
        port=port,
        log_level="warning",
        proxy_headers=False,  # who asks is not for the client to say
        server_header=False,
        http="registry.server.connections:Bounded",  # the limits of the registry's server hold here too
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
