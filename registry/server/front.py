"""The door of the registry's server: what is judged before MLflow, Flask or any page of ours sees a request.

In this order: a path, a method and headers that nobody reads in two ways; a user; no page of another server; a body within the
limits. What MLflow lets escape ends here as well, as a sentence without inner text; so does what a lost database
spoils.
"""

import ipaddress
import logging
import re
import secrets
import traceback
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry.errors import RegistryError
from registry.server.artifact_gate import NOBODY
from registry.server.exchange import Exchange, Refusal, Stopped, has_body, too_long
from registry.server.inner_text import without_hashes
from registry.server.json_body import TOO_DEEP
from registry.server.limits import OPEN_BYTES, Limits
from registry.server.log_ins import HASHES_AT_ONCE, LogIns, credentials, too_many
from registry.server.lost_database import noticing, sentence_of, watch
from registry.server.plain_path import why_crooked
from registry.server.strangers import Strangers
from registry.trail.events import Entry, Trail

_READS: Final = ("GET", "HEAD", "OPTIONS")
_METHODS: Final = (*_READS, "POST", "PUT", "PATCH", "DELETE")
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
_ARTIFACTS = re.compile(r"/(?:ajax-)?api/2\.0/mlflow-artifacts/")
_LONGEST_SHOWN: Final = 200
_log = logging.getLogger(__name__)


class Front:
    """ASGI middleware, outside all others. ``is_open`` tells which paths need no log-in."""

    def __init__(
        self,
        app: ASGIApp,
        trail: Trail,
        strangers: Strangers,
        log_ins: LogIns,
        limits: Limits,
        is_open: Callable[[str], bool],
    ) -> None:
        self._app = app
        self._trail = trail
        self._strangers = strangers
        self._log_ins = log_ins
        self._limits = limits
        self._is_open = is_open
        # Of their own: a flood of guesses must not take the threads in which MLflow answers.
        self._hashing: anyio.CapacityLimiter | None = None
        watch()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, self._closing(send))
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})

    def _closing(self, send: Send) -> Send:
        async def closing(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown"):  # after this one the process ends
                await anyio.to_thread.run_sync(self._strangers.close)
            await send(message)

        return closing

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        _with_believable_address(scope)
        with noticing() as lost:
            await self._answer_unless(lost, scope, receive, send)

    async def _answer_unless(self, lost: list[str], scope: Scope, receive: Receive, send: Send) -> None:
        longest, seconds = self._limits_of(scope)
        # Reading does nothing that an answer could have to tell of.
        reading = scope["method"] in _READS or scope["path"] == "/graphql"
        exchange = Exchange(receive, send, self._limits, has_body(scope), longest, seconds, lambda: _unavailable(lost), reading)
        try:
            refusal = await self._refusal(scope, longest)
            if refusal is None:
                await self._app(scope, exchange.receive, exchange.send)
                refusal = exchange.refusal
        except ClientDisconnect:
            return
        except Stopped:
            refusal = exchange.refusal
        except RecursionError:
            refusal = Refusal(400, "INVALID_PARAMETER_VALUE", TOO_DEEP)
        except Exception as problem:
            if exchange.answered:
                raise
            request_line = f"{scope['method']} {scope['path'][:_LONGEST_SHOWN]}"
            refusal = exchange.refusal or _unavailable(lost) or inner_failure(problem, request_line)
        if refusal is not None and not exchange.answered:
            await refusal.send(scope, send)

    def _limits_of(self, scope: Scope) -> tuple[int, float | None]:
        """Most bytes and seconds for the body."""
        if self._is_open(scope["path"]):
            return min(OPEN_BYTES, self._limits.body_bytes), self._limits.body_seconds
        if _ARTIFACTS.match(scope["path"]) and scope["method"] not in _READS:
            return self._limits.artifact_bytes, None
        return self._limits.body_bytes, self._limits.body_seconds

    async def _refusal(self, scope: Scope, longest: int) -> Refusal | None:
        """Why the request is not let in, recorded where it leaves an event; None where it is."""
        crooked = _crooked(scope)
        if crooked is not None:
            if scope["method"] not in _READS:
                await self._record(scope, await self._log_in(scope), crooked.sentence)
            return crooked
        who: str | Refusal | None = None
        if not self._is_open(scope["path"]):
            who = await self._log_in(scope)
            if isinstance(who, Refusal):
                await self._record(scope, who, "no valid user name and password")
                return who
        foreign = _foreign(scope)
        if foreign is not None:
            if scope["method"] not in _READS:
                await self._record(scope, who, foreign.sentence)
            return foreign
        declared = [value for name, value in scope["headers"] if name == b"content-length"]
        if declared and (len(declared[0]) > 19 or int(declared[0]) > longest):
            return Refusal(413, "INVALID_PARAMETER_VALUE", too_long(longest))
        return None

    async def _log_in(self, scope: Scope) -> str | Refusal:
        """The name of the user whose right password the request carries; else the answer that asks for it."""
        given = credentials(_values(scope, b"authorization"))
        if given is None:
            return _unauthenticated("give a user name and a password, in a header 'Authorization: Basic …'")
        limiter = None
        if not self._log_ins.remembers(*given):
            limiter = self._hashing = self._hashing or anyio.CapacityLimiter(HASHES_AT_ONCE)
        outcome = await anyio.to_thread.run_sync(self._log_ins.log_in, *given, _address(scope), limiter=limiter)
        if outcome.right:
            return given[0]
        if outcome.wait:
            later = ((b"retry-after", str(int(outcome.wait) + 1).encode()),)
            return Refusal(429, "REQUEST_LIMIT_EXCEEDED", too_many(given[0], outcome.wait), later)
        return _unauthenticated("the user name or the password is not right; type them again")

    async def _record(self, scope: Scope, who: str | Refusal | None, reason: str) -> None:
        """One event; of a request without a valid log-in, perhaps only counted into one."""
        request_line = f"{scope['method'][:20]} {scope['path'][:_LONGEST_SHOWN]}"
        entry = Entry(actor=NOBODY, action=request_line, address=_address(scope), allowed=False, reason=reason)
        if isinstance(who, str):
            await anyio.to_thread.run_sync(self._trail.append, entry.model_copy(update={"actor": who}))
            return
        if _values(scope, b"authorization") and isinstance(who, Refusal) and _crooked(scope) is None:
            user = (credentials(_values(scope, b"authorization")) or ("", ""))[0]
            ending = ", and no password is looked at for some seconds" if who.status == 429 else ""
            words = {"action": "log-in", "subject": user[:80], "reason": f"{reason} for {request_line}{ending}"}
            entry = Entry(actor=NOBODY, address=_address(scope), allowed=False, **words)
        elif scope["method"] in _READS:
            return
        await anyio.to_thread.run_sync(self._strangers.record, entry)


def _unavailable(sentences: list[str]) -> Refusal | None:
    return Refusal(503, "TEMPORARILY_UNAVAILABLE", sentences[0]) if sentences else None


def inner_failure(problem: BaseException, request_line: str) -> Refusal:
    """The answer to a request that failed inside, and what the log says about it under the same reference.

    503 and what it is where a database, a disk or the trail cannot do its part now; else 500.
    """
    known = f"{problem}" if isinstance(problem, RegistryError) else sentence_of(problem)
    if known is not None:
        _log.error("%s: %s", request_line, known)
        return Refusal(503, "TEMPORARILY_UNAVAILABLE", known)
    reference = secrets.token_hex(4)
    trace = without_hashes("".join(traceback.format_exception(problem)))
    _log.error("reference %s: %s failed\n%s", reference, request_line, trace)
    sentence = f"something went wrong inside the registry; its log says what (reference {reference})"
    return Refusal(500, "INTERNAL_ERROR", sentence)


def _unauthenticated(sentence: str) -> Refusal:
    return Refusal(401, "UNAUTHENTICATED", sentence, ((b"www-authenticate", b'Basic realm="mlflow"'),))


def _crooked(scope: Scope) -> Refusal | None:
    """The answer to a request that two readers could read in two ways."""
    if scope["method"] not in _METHODS:
        return Refusal(405, "INVALID_PARAMETER_VALUE", f"method {scope['method'][:20]!r} is none of {', '.join(_METHODS)}")
    sentence = why_crooked(scope.get("raw_path"), scope["path"])
    # Starlette builds addresses from this header: a slash in it moves the path.
    hosts = _values(scope, b"host")
    if sentence is None and (len(hosts) != 1 or _HOST.fullmatch(hosts[0]) is None):
        sentence = "the header Host is missing or no name and port; send one such as 127.0.0.1:5000"
    origins = _values(scope, b"origin")
    if sentence is None and (len(origins) > 1 or any(re.fullmatch(rb"[!-~]*", one) is None for one in origins)):
        sentence = "the header Origin is no address; send one, or none"
    if sentence is None and _values(scope, b"x-mlflow-authorization"):
        sentence = "a second log-in, in the header X-MLflow-Authorization, is not taken; send Authorization alone"
    return None if sentence is None else Refusal(400, "INVALID_PARAMETER_VALUE", sentence)


def _foreign(scope: Scope) -> Refusal | None:
    """The answer to what a page of another server made a browser send; None for our own pages and for programs.

    MLflow lets pages of any port of this machine read and write with a visitor's password.
    """
    origins = _values(scope, b"origin")
    if not origins:
        return None
    origin, host = origins[0].decode("ascii"), _values(scope, b"host")[0].decode("ascii")
    try:
        own = urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        own = False
    if own:
        return None
    what = "read" if scope["method"] in _READS else "change"
    sentence = f"a page of {origin[:_LONGEST_SHOWN]} may not {what} the registry; use the registry's own pages"
    return Refusal(403, "PERMISSION_DENIED", sentence)


def _with_believable_address(scope: Scope) -> None:
    """Puts "invalid" in the place of a client's address that is none: a trusted proxy hands on what it was sent."""
    if scope.get("client") is None:
        return
    host, port = scope["client"]
    try:
        # A zone, after %, may be any text.
        plain = "invalid" if "%" in host else str(ipaddress.ip_address(host))
    except ValueError:
        plain = "invalid"
    scope["client"] = (plain, port)


def _address(scope: Scope) -> str:
    return scope["client"][0] if scope.get("client") else ""


def _values(scope: Scope, name: bytes) -> list[bytes]:
    return [value for key, value in scope["headers"] if key == name]
