"""One connection to the registry's server: uvicorn's own protocol, with a bound on how many there are and on how slow each is.

uvicorn 0.54 bounds neither the time for the first head of a connection nor that in which a client takes its answer, and
keeps connections beyond ``--limit-concurrency`` open. ``server_command`` names ``Bounded`` in uvicorn's option ``--http``.
"""

import asyncio
import json
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from registry.server.limits import of_environment


class Bounded(H11Protocol):
    """uvicorn's protocol over h11, within the limits of this process."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._limits = of_environment()
        self._head: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()
        most = self._limits.connections
        held = [one for one in self.connections if not one.transport.is_closing()]
        if len(held) > most:
            # Who opens connections and says nothing must not keep out who speaks at once.
            silent = (one for one in held if isinstance(one, Bounded) and one._head is not None)
            last = min(silent, key=lambda one: one._since)
            last._end(503, "TEMPORARILY_UNAVAILABLE", f"{most} connections are open, which is the most; try again in a minute")

    def data_received(self, data: bytes) -> None:
        if self.conn.their_state is h11.IDLE and self._head is None:
            self._await_head()
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            _cancel(self._head)
            self._head = None

    def connection_lost(self, exc: Exception | None) -> None:
        _cancel(self._head)
        _cancel(self._stalled)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        most = self.conn._max_incomplete_event_size
        self._end(
            400, "INVALID_PARAMETER_VALUE", f"this is no HTTP request, or its head has over {most} bytes; send a shorter one"
        )

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self._stalled or self.loop.call_later(self._limits.silence_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        _cancel(self._stalled)
        self._stalled = None
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._abort_later()

    def _await_head(self) -> None:
        self._since = self.loop.time()
        self._head = self.loop.call_later(self._limits.head_seconds, self._no_head)

    def _no_head(self) -> None:
        self._head = None
        seconds = self._limits.head_seconds
        self._end(408, "INVALID_PARAMETER_VALUE", f"no complete head of a request within {seconds:g} seconds; send it at once")

    def _end(self, status: int, code: str, sentence: str) -> None:
        """Answers without a request, and closes."""
        if self.transport.is_closing():
            return
        body = json.dumps({"error_code": code, "message": sentence}).encode()
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\nConnection: close\r\n"
        self.transport.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        self.transport.close()
        self._abort_later()

    def _abort_later(self) -> None:
        # A closed transport stays until the client took all that was written.
        self._stalled = self._stalled or self.loop.call_later(self._limits.silence_seconds, self.transport.abort)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
