"""One request and its answer within the limits: a body not too long and not too slow, no inner text in what goes out."""

import asyncio
import html
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import anyio
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from registry.server.inner_text import plain_answer
from registry.server.limits import Limits

_LONGEST_ERROR: Final = 1024**2
"""Bytes of an answer with an error that are looked through and sent; what is beyond is cut off."""


@dataclass(frozen=True)
class Refusal:
    """An answer of ours: status, MLflow's error code, one sentence."""

    status: int
    code: str
    sentence: str
    headers: Sequence[tuple[bytes, bytes]] = ()

    async def send(self, scope: Scope, send: Send) -> None:
        """Answers the request in ``scope``, and closes the connection where its body was not taken."""
        kind, body = b"application/json", json.dumps({"error_code": self.code, "message": self.sentence}).encode()
        if self.status >= 500 and _is_page(scope):
            kind, body = b"text/html; charset=utf-8", _PAGE.format(html.escape(self.sentence)).encode()
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        headers += [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"), *self.headers]
        if has_body(scope):
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Stopped(Exception):
    """The body broke a limit; the exchange holds the refusal."""


class Exchange:
    """``receive`` and ``send`` of one request, in place of the server's own.

    ``bodied`` says whether a body follows, ``longest`` how many bytes it may have at most; ``seconds`` is the time for all of
    it, None for any. ``instead`` gives the answer that goes out in place of one with an error, and of any to who only reads
    (``reading``); None where there is none.
    """

    def __init__(
        self,
        receive: Receive,
        send: Send,
        limits: Limits,
        bodied: bool,
        longest: int,
        seconds: float | None,
        instead: Callable[[], Refusal | None] = lambda: None,
        reading: bool = False,
    ) -> None:
        self._receive = receive
        self._send = send
        self._limits = limits
        self._longest = longest
        self._end = None if seconds is None else asyncio.get_running_loop().time() + seconds
        self._taken = 0
        self._whole = False
        self._bodied = bodied
        self._instead = instead
        self._reading = reading
        self._held: Message | None = None
        self._error = bytearray()
        self.answered = False
        """Whether an answer began to go out."""
        self.refusal: Refusal | None = None
        """Set where the body broke a limit, and where another answer goes out instead."""

    async def receive(self) -> Message:
        if self._whole or self.answered:
            return await self._receive()
        wait, sentence = self._limits.silence_seconds, "the body brought nothing for {:g} seconds; send it again"
        if self._end is not None and (rest := self._end - asyncio.get_running_loop().time()) < wait:
            wait, sentence = rest, "the body was not whole within {:g} seconds; send it again, faster"
            seconds = self._limits.body_seconds
        else:
            seconds = wait
        try:
            with anyio.fail_after(max(wait, 0.0)):
                message = await self._receive()
        except TimeoutError:
            raise self._stop(408, "INVALID_PARAMETER_VALUE", sentence.format(seconds)) from None
        if message["type"] == "http.disconnect":
            # MLflow's bridge to Flask would take what came so far for the whole body, and do what it says.
            raise ClientDisconnect
        self._taken += len(message.get("body", b""))
        if self._taken > self._longest:
            raise self._stop(413, "INVALID_PARAMETER_VALUE", too_long(self._longest))
        self._whole = not message.get("more_body", False)
        return message

    def _stop(self, status: int, code: str, sentence: str) -> Stopped:
        self.refusal = Refusal(status, code, sentence)
        return Stopped(sentence)

    async def send(self, message: Message) -> None:
        if self.refusal is not None and not self.answered:
            return  # whatever MLflow makes of a body that was cut off: ours is the answer
        if message["type"] == "http.response.start":
            if message["status"] >= 400 or self._reading:
                self.refusal = self.refusal or self._instead()
                if self.refusal is not None:
                    return
            if self._bodied and not self._whole:
                # What is left of the body would be taken in, unread, for as long as it lasts.
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            if message["status"] >= 400:
                self._held = message
            else:
                await self._out(message)
        elif self._held is None or message["type"] != "http.response.body":
            await self._out(message)
        else:
            self._error += message.get("body", b"")[: _LONGEST_ERROR - len(self._error)]
            if not message.get("more_body", False):
                await self._send_error(self._held)

    async def _send_error(self, start: Message) -> None:
        whole = bytes(self._error)
        body = plain_answer(whole)
        if body != whole or len(whole) == _LONGEST_ERROR:
            kept = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
            start = {**start, "headers": [*kept, (b"content-length", str(len(body)).encode())]}
        self._held = None
        await self._out(start)
        await self._out({"type": "http.response.body", "body": body})

    async def _out(self, message: Message) -> None:
        self.answered = True
        await self._send(message)


_PAGE: Final = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>Registry</title>'
    '<body style="font: 1rem/1.5 sans-serif; max-width: 40rem; margin: 4rem auto"><h1>This cannot be done now</h1><p>{}.</p>'
)


def _is_page(scope: Scope) -> bool:
    """Whether a browser asks for something that a person will look at."""
    accepted = b",".join(value for name, value in scope["headers"] if name == b"accept")
    return scope["method"] == "GET" and b"text/html" in accepted.lower()


def has_body(scope: Scope) -> bool:
    """Whether a request says that a body follows."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip() != b"0") for name, value in scope["headers"]
    )


def too_long(longest: int) -> str:
    """What is said to who sends a body of over ``longest`` bytes."""
    return f"the body has over {longest} bytes, which is the most that is taken here; send less, or set registry.limits"
