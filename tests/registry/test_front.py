"""The door of the real server, knocked at with raw sockets where a client would tidy up what it sends."""

import base64
import json
import logging
import re
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import sqlalchemy as sa
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry.client.connection import Connection
from registry.server.exchange import Refusal
from registry.server.front import Front, inner_failure
from registry.server.inner_text import hide_parameters, plain_answer, without_hashes, without_inner_text
from registry.server.limits import Limits
from registry.server.plain_path import why_crooked
from registry.trail.events import Event

from .conftest import PASSWORD, Registry, running

pytestmark = pytest.mark.servers
HEALTH = "/changeover/health"
SET_TAG = "/api/2.0/mlflow/model-versions/set-tag"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
TIGHT = Limits(body_bytes=20_000, artifact_bytes=50_000, head_seconds=1.5, silence_seconds=1.5, body_seconds=3, connections=12)


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def log_in(who: Connection) -> str:
    return basic(who.user or "", who.password or "")


def connect(registry: Registry) -> socket.socket:
    host, _, port = registry.url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=20)


def read(end: socket.socket) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of the answer, up to where the server closes."""
    found = b""
    try:
        while piece := end.recv(65536):
            found += piece
    except ConnectionResetError:
        pass
    head, _, body = found.decode("utf-8", "replace").partition("\r\n\r\n")
    lines = head.split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    return int(lines[0].split(" ")[1]) if found else 0, headers, body


def ask(registry: Registry, request: str, *headers: str, host: str | None = None) -> tuple[int, dict[str, str], str]:
    """Sends ``request``, a method and a target, and whatever headers as they are."""
    host = registry.url.removeprefix("http://") if host is None else host
    lines = [f"{request} HTTP/1.1", f"Host: {host}", "Connection: close", *headers, "", ""]
    with closing(connect(registry)) as end:
        end.sendall("\r\n".join(lines).encode())
        return read(end)


def sentence(body: str) -> str:
    return str(json.loads(body)["message"])


def newest(registry: Registry, count: int = 1) -> list[Event]:
    """The last events of the trail."""
    number = registry.vic.call("GET", HEALTH)["events"]
    found = registry.vic.call("GET", "/changeover/events", params={"after": str(max(0, number - count))})["events"]
    return [Event.model_validate(one) for one in found]


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A server with narrow limits that believes a proxy on this machine, so that a test may choose its address."""
    with running(tmp_path_factory.mktemp("tight"), limits=TIGHT, trusted_proxy="127.0.0.1") as found:
        yield found


CROOKED = r"""
    //changeover/health ///api/2.0/mlflow/users/list /changeover//health /changeover// /./changeover/health
    /changeover/../changeover/health /changeover/. /.. /changeover\health /changeover/%68ealth /%63hangeover/health
    /changeover%2Fhealth /changeover%2fhealth /changeover%5Chealth /changeover/%2e/health /changeover/%2E%2e/health
    /changeover%252Fhealth /changeover/health%00 /changeover/health%0a /changeover/health%7F /changeover/health%3F
    /changeover/health%23x /changeover/health#x /changeover/%ff /changeover/%C0%AF /changeover/%ED%A0%80 /changeover/%
    /changeover/%4 /changeover/%zz /changeover/%E2%80%8Bhealth /changeover/%E2%80%AEhealth /changeover/%C2%85
    /changeover/he%2Dalth /static-files/../changeover/health /health/../changeover/events /health//x changeover/health *
    http://127.0.0.1/changeover/health HTTP://x/ 127.0.0.1:5000 ?x
"""


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
def test_a_path_that_can_be_read_in_two_ways_is_refused(registry: Registry, method: str) -> None:
    for path in CROOKED.split():
        status, headers, body = ask(registry, f"{method} {path}", f"Authorization: {log_in(registry.ana)}")
        assert status == 400, (method, path, body)
        if method != "HEAD":
            assert json.loads(body)["error_code"] == "INVALID_PARAMETER_VALUE" and sentence(body).startswith("the path ")
        assert headers["content-type"] == "application/json"


def test_a_crooked_write_is_an_event_with_its_author(registry: Registry) -> None:
    path = "//api/2.0/mlflow-artifacts/artifacts/1/x"
    for method in ("PUT", "DELETE"):
        assert ask(registry, f"{method} {path}", f"Authorization: {log_in(registry.trainer)}")[0] == 400
        (event,) = newest(registry)
        assert (event.actor, event.action, event.allowed) == ("trainer", f"{method} {path}", False)
        assert "two slashes" in event.reason and event.address == "127.0.0.1"


@pytest.mark.parametrize("name", ["f%C3%BCr sie.png", "a b.png", "a+b=c@d,e;f!.png", "~x_-.y"])
def test_a_file_may_have_a_name_of_its_language(registry: Registry, name: str) -> None:
    path = f"{ARTIFACTS}/1/{'f' * 32}/artifacts/{name.replace(' ', '%20')}"
    auth = f"Authorization: {log_in(registry.trainer)}"
    assert "the path" not in ask(registry, f"PUT {path}", auth, "Content-Length: 0")[2]
    assert ask(registry, f"GET {path}", auth)[0] in (200, 404)


def test_why_crooked_needs_both_readings() -> None:
    assert why_crooked(b"/a%20b", "/a b") is None and why_crooked(b"/", "/") is None and why_crooked(b"/a/", "/a/") is None
    for raw, path in ((None, "/a"), (b"/a", "/b"), (b"/a", "//a"), (b"/%C3%BC", "/u"), (b"", ""), (b"/a\n", "/a\n")):
        assert why_crooked(raw, path) is not None
    assert len(why_crooked(b"//" + b"x" * 5000, "//" + "x" * 5000) or "") < 250


@pytest.mark.parametrize(
    "host", ["127.0.0.1/health?", "127.0.0.1:5000/static-files", "user@127.0.0.1", "", "a b", "127.0.0.1:x", "\u00fc"]
)
def test_a_host_that_moves_the_path_is_refused(registry: Registry, host: str) -> None:
    status, _, body = ask(registry, f"GET {HEALTH}", f"Authorization: {log_in(registry.ana)}", host=host)
    assert status == 400, body


def test_a_foreign_host_is_mlflows_to_refuse(registry: Registry) -> None:
    assert ask(registry, f"GET {HEALTH}", f"Authorization: {log_in(registry.ana)}", host="evil.example")[0] == 403


@pytest.mark.parametrize("method", ["get", "post", "Post", "TRACE", "CONNECT", "PROPFIND", "X"])
def test_a_method_that_two_readers_spell_in_two_ways_is_refused(registry: Registry, method: str) -> None:
    assert ask(registry, f"{method} {HEALTH}", f"Authorization: {log_in(registry.ana)}")[0] == 405


PROTECTED = [
    "/",
    HEALTH,
    "/changeover/review",
    "/api/2.0/mlflow/registered-models/search",
    f"{ARTIFACTS}/1/x",
    "/graphql",
    "/v1/traces",
    "/api/2.0/mlflow/users/create",
    "/no/such/thing",
    "/ajax-api/3.0/jobs/x",
    "/gateway/x/mlflow/invocations",
]
NO_LOG_INS = [
    "Bearer abc",
    "Basic",
    "Basic !!!",
    "Basic YW5h",
    "Basic /zp4",
    "Digest username=ana",
    "Basic " + "A" * 100_000,
    basic("ana", ""),
    basic("ana", PASSWORD) + ", " + basic("bo", PASSWORD),
    basic("a\0na", "x"),
    basic("\u200bana", PASSWORD),
]


@pytest.mark.parametrize("path", PROTECTED)
def test_no_route_answers_without_a_log_in(registry: Registry, path: str) -> None:
    for method in ("GET", "POST"):
        status, headers, body = ask(registry, f"{method} {path}")
        assert (status, headers["www-authenticate"]) == (401, 'Basic realm="mlflow"'), body
        assert json.loads(body)["error_code"] == "UNAUTHENTICATED"


@pytest.mark.parametrize("given", NO_LOG_INS, ids=lambda text: text[:20])
def test_what_is_no_log_in_gets_401_and_an_event(registry: Registry, given: str) -> None:
    before = registry.vic.call("GET", HEALTH)["events"]
    status, headers, _ = ask(registry, f"GET {HEALTH}", f"Authorization: {given}")
    assert (status, headers["www-authenticate"]) == (401, 'Basic realm="mlflow"')
    for event in newest(registry, registry.vic.call("GET", HEALTH)["events"] - before):
        assert (event.actor, event.action, event.allowed) == ("(unauthenticated)", "log-in", False)


def test_two_log_ins_in_one_request_are_none(registry: Registry) -> None:
    both = (f"Authorization: {log_in(registry.ana)}", f"Authorization: {log_in(registry.bo)}")
    assert ask(registry, f"GET {HEALTH}", *both)[0] == 401
    second = f"X-MLflow-Authorization: {log_in(registry.admin)}"
    assert ask(registry, "POST /gateway/x/mlflow/invocations", both[0], second)[0] == 400


def test_open_routes_stay_open_and_take_little(registry: Registry) -> None:
    assert ask(registry, "GET /health")[0] == 200
    assert ask(registry, "POST /health", "Content-Length: 70000")[0] == 413


def test_an_address_is_not_the_clients_choice(registry: Registry) -> None:
    forged = ("X-Forwarded-For: 6.6.6.6", "X-Real-IP: =cmd|x", "Forwarded: for=1.2.3.4", "X-Forwarded-For: <b>, \\n")
    ask(registry, f"POST {SET_TAG}", f"Authorization: {log_in(registry.vic)}", "Content-Length: 0", *forged)
    assert {event.address for event in newest(registry, 3)} == {"127.0.0.1"}


@pytest.mark.parametrize(
    "origin", ["http://127.0.0.1:1", "http://localhost:4200", "null", "http://evil.example", "http://[", "", "x"]
)
@pytest.mark.parametrize(
    "request_line", [f"POST {SET_TAG}", f"PUT {ARTIFACTS}/1/x", "POST /v1/traces", "DELETE /no/such/thing", "POST /health"]
)
def test_a_page_of_another_server_writes_nothing_anywhere(registry: Registry, origin: str, request_line: str) -> None:
    status, _, body = ask(
        registry, request_line, f"Authorization: {log_in(registry.ana)}", f"Origin: {origin}", "Content-Length: 0"
    )
    assert status == 403 and "may not change the registry" in sentence(body)
    (event,) = newest(registry)
    if not request_line.endswith("/health"):  # which asks nobody who they are
        assert (event.actor, event.action, event.allowed) == ("ana", request_line, False)


def test_a_page_of_another_server_reads_nothing_either(registry: Registry) -> None:
    auth, own = f"Authorization: {log_in(registry.ana)}", f"Origin: {registry.url}"
    assert ask(registry, f"GET {HEALTH}", auth, "Origin: http://localhost:4200")[0] == 403
    assert (
        ask(registry, f"OPTIONS {HEALTH}", auth, "Origin: http://localhost:4200", "Access-Control-Request-Method: POST")[0] == 403
    )
    assert ask(registry, f"GET {HEALTH}", auth, own)[0] == 200


def test_websockets_are_not_spoken(registry: Registry) -> None:
    upgrade = ("Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    lines = [f"GET {HEALTH} HTTP/1.1", f"Host: {registry.url.removeprefix('http://')}", "Connection: Upgrade", *upgrade, "", ""]
    with closing(connect(registry)) as end:
        end.sendall("\r\n".join(lines).encode())
        end.shutdown(socket.SHUT_WR)
        assert read(end)[0] == 401


def test_bodies_beyond_the_limit_are_refused_whatever_they_say(registry: Registry) -> None:
    auth = f"Authorization: {log_in(registry.ana)}"
    for length in ("16777217", "9" * 19, "9" * 20):
        assert ask(registry, f"POST {SET_TAG}", auth, f"Content-Length: {length}")[0] in (400, 413)
    answer = registry.http.post(registry.url + SET_TAG, content=b"x" * (17 * 1024**2), auth=("ana", PASSWORD))
    assert answer.status_code == 413 and answer.json()["message"].startswith("the body has over 16777216 bytes")
    chunks = (b"x" * 65536 for _ in range(17 * 16))
    assert registry.http.post(registry.url + SET_TAG, content=chunks, auth=("ana", PASSWORD)).status_code == 413


@pytest.mark.parametrize("path", [SET_TAG, "/graphql", "/changeover/events", "/api/2.0/mlflow/runs/search",
                                  "/api/2.0/mlflow/users/create", "/ajax-api/2.0/mlflow/runs/log-batch"])  # fmt: skip
@pytest.mark.parametrize("body", ["[" * 200_000, '{"a":' * 100_000 + "1" + "}" * 100_000], ids=["lists", "objects"])
def test_deep_json_is_the_clients_fault(registry: Registry, path: str, body: str) -> None:
    auth = ("admin", registry.admin.password or "")
    answer = registry.http.post(registry.url + path, content=body, headers={"Content-Type": "application/json"}, auth=auth)
    assert 400 <= answer.status_code < 500, answer.text


def test_a_password_hash_is_nowhere(registry: Registry) -> None:
    for path in ("/api/2.0/mlflow/users/create", "/ajax-api/2.0/mlflow/users/create"):
        answer = registry.post(registry.admin, path, {"username": "ana", "password": "another long password"})
        assert answer.status_code in (400, 403) and "UNIQUE" not in answer.text
    everything = registry.database.read_bytes() + (registry.state / "server.log").read_bytes()
    assert b"scrypt" not in everything and b"pbkdf2" not in everything and b"[SQL:" not in everything


def test_errors_of_every_engine_go_without_values() -> None:
    older = sa.create_engine("sqlite://")
    hide_parameters()
    hide_parameters()
    for engine in (older, sa.create_engine("sqlite://")):
        with closing(engine.connect()) as connection, pytest.raises(sa.exc.IntegrityError) as told:
            connection.exec_driver_sql("CREATE TABLE t (a TEXT PRIMARY KEY)")
            for _ in range(2):
                connection.exec_driver_sql("INSERT INTO t VALUES (?)", ("scrypt:32768:8:1$salt$hash",))
        engine.dispose()
        assert "INSERT INTO t" in str(told.value) and "scrypt" not in str(told.value)


def test_inner_text_is_cut_off_where_a_database_speaks() -> None:
    told = (
        "User (username=ana) already exists. Error: (sqlite3.IntegrityError) UNIQUE [SQL: INSERT] [parameters: ('scrypt:1$2',)]"
    )
    assert without_inner_text(told) == "User (username=ana) already exists."
    assert without_inner_text("(psycopg2.errors.X) oh") == "the registry's database refused this"
    assert without_inner_text("plain") == "plain"
    assert json.loads(plain_answer(json.dumps({"a": [told], "n": 1}).encode())) == {
        "a": ["User (username=ana) already exists."],
        "n": 1,
    }
    assert plain_answer(b"<p>[SQL: SELECT 1]</p>") == b"<p>"
    assert plain_answer(b"\xff as it was") == b"\xff as it was"
    assert without_hashes("Failing row (1, ana, scrypt:32768:8:1$ab$cd)") == "Failing row (1, ana, (hash))"


def test_what_fails_inside_is_a_reference_and_the_log_has_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        answer = inner_failure(ValueError("row holds scrypt:32768:8:1$salt$hash"), "GET /x")
    reference = answer.sentence.split("reference ")[1].rstrip(")")
    assert answer.status == 500 and len(reference) == 8 and "row" not in answer.sentence
    assert reference in caplog.text and "row holds (hash)" in caplog.text and "salt" not in caplog.text


def through(inner: ASGIApp, *, path: str = "/x", body: bytes = b"") -> tuple[int, str]:
    """What the front answers for an application that is ``inner``, on a path that needs no log-in."""

    class Nothing:
        def __getattr__(self, name: str) -> object:
            raise AssertionError(f"{name} was asked for")

    nothing: Any = Nothing()
    front = Front(inner, nothing, nothing, nothing, Limits(), is_open=lambda _path: True)
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "headers": [(b"host", b"127.0.0.1:5000")]}
    anyio.run(front, scope | {"client": ("127.0.0.1", 1)}, receive, send)
    return sent[0]["status"], b"".join(one.get("body", b"") for one in sent).decode()


def test_what_escapes_from_the_application_ends_at_the_front(caplog: pytest.LogCaptureFixture) -> None:
    async def fails(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise ValueError("(sqlite3.OperationalError) [SQL: SELECT secret]")

    async def too_deep(_scope: Scope, receive: Receive, _send: Send) -> None:
        json.loads((await receive())["body"])

    async def half(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"9999")]})
        raise ValueError("after an answer began that never went out")

    async def speaks_sql(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 500, "headers": [(b"content-length", b"29")]})
        await send({"type": "http.response.body", "body": b"it failed: (sqli", "more_body": True})
        await send({"type": "http.response.body", "body": b"te3.Error) no", "more_body": False})

    async def fails_late(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError("the server has to cut the connection")

    status, body = through(fails)
    assert status == 500 and "SELECT" not in body and sentence(body)[-9:-1] in caplog.text
    assert through(too_deep, body=b"[" * 60_000)[0] == 400
    assert through(half)[0] == 500
    assert through(speaks_sql) == (500, "it failed")
    with pytest.raises(ValueError, match="cut the connection"):
        through(fails_late)


def test_files_are_their_owners_alone(registry: Registry) -> None:
    assert stat.S_IMODE(registry.state.stat().st_mode) == 0o700
    found = [file for file in registry.state.iterdir() if file.is_file() and file.name != "server.log"] + list(
        (registry.state / "secrets").iterdir()
    )
    assert {"mlflow.db", "users.db", "users.ini", "admin-password"} <= {file.name for file in found}
    assert {file.name: oct(file.stat().st_mode) for file in found if stat.S_IMODE(file.stat().st_mode) & 0o077} == {}


def test_a_known_name_takes_the_time_of_an_unknown_one(tight: Registry) -> None:
    def seconds(name: str, address: str) -> float:
        begin = time.perf_counter()
        assert httpx.get(tight.url + HEALTH, auth=(name, "wrong"), headers={"X-Forwarded-For": address}).status_code == 401
        return time.perf_counter() - begin

    # Turn about, and the quickest of each: what else this machine does at the same time is no difference between them.
    pairs = [(seconds("ana", f"10.1.1.{n}"), seconds("nobody-of-that-name", f"10.1.2.{n}")) for n in range(12)]
    known, unknown = (min(times) for times in zip(*pairs, strict=True))
    assert 0.6 < known / unknown < 1.7, (known, unknown)


def test_guessing_is_slowed_down_and_who_works_is_let_in(tight: Registry) -> None:
    def ask_as(user: str, password: str, address: str = "10.2.0.1") -> httpx.Response:
        return httpx.get(tight.url + HEALTH, auth=(user, password), headers={"X-Forwarded-For": address})

    assert ask_as("ana", PASSWORD).status_code == 200
    assert [ask_as("bo", f"guess {number}").status_code for number in range(5)] == [401] * 5
    answer = ask_as("bo", PASSWORD, "10.2.0.1")
    assert answer.status_code in (200, 429)
    while (answer := ask_as("bo", "one more guess")).status_code != 429:
        pass
    assert 1 <= int(answer.headers["Retry-After"]) <= 60 and "no password is looked at" in answer.json()["message"]
    assert ask_as("ana", PASSWORD).status_code == 200
    assert ask_as("bo", "wrong", "10.2.0.2").status_code == 401, "another address is not slowed down"


@pytest.mark.parametrize(
    ("sent", "recorded"),
    [("10.3.0.7", "10.3.0.7"), ("2001:DB8::0:1", "2001:db8::1"), ("<script>", "invalid"), ("=cmd|x", "invalid"),
     ("fe80::1%<b>", "invalid"), ("10.3.0.8, evil", "invalid"), ("6.6.6.6, 10.3.0.9", "10.3.0.9"), ("010.3.0.1", "invalid")],
)  # fmt: skip
def test_a_trusted_proxy_names_addresses_and_nothing_else(tight: Registry, sent: str, recorded: str) -> None:
    headers = {"X-Forwarded-For": sent}
    httpx.post(
        tight.url + SET_TAG,
        auth=("vic", PASSWORD),
        headers=headers,
        json={"name": "x", "version": "1", "key": "qa", "value": "x"},
    )
    assert newest(tight)[0].address == recorded


def start_of(request: str, *headers: str, who: Connection) -> bytes:
    return "\r\n".join([f"{request} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: {log_in(who)}", *headers, "", ""]).encode()


def trickle(end: socket.socket, piece: bytes, seconds: float) -> float:
    """Sends ``piece`` every tenth of a second until the server answers; how long that took."""
    begin = time.monotonic()
    end.settimeout(0.1)
    while time.monotonic() - begin < seconds:
        try:
            end.sendall(piece)
            if end.recv(1, socket.MSG_PEEK):
                break
        except TimeoutError:
            continue
        except OSError:
            break
    end.settimeout(20)
    return time.monotonic() - begin


def test_a_head_that_does_not_come_is_not_waited_for(tight: Registry) -> None:
    for first in (b"", b"GET / HT", start_of(f"GET {HEALTH}", who=tight.ana) + b"GET"):
        begin = time.monotonic()
        with closing(connect(tight)) as end:
            end.sendall(first)
            answer = read(end)
            assert (answer[0] == 408 and "1.5 seconds" in sentence(answer[2])) or (answer[0] == 200 and "GET" in first.decode())
        assert 1 < time.monotonic() - begin < 9
    with closing(connect(tight)) as end:
        assert 1 < trickle(end, b"x", 10) < 4
        assert read(end)[0] == 408


@pytest.mark.parametrize("path", [SET_TAG, "/v1/traces", f"{ARTIFACTS}/1/{'0' * 32}/artifacts/slow"])
def test_a_body_that_brings_nothing_is_not_waited_for(tight: Registry, path: str) -> None:
    method = "PUT" if path.startswith(ARTIFACTS) else "POST"
    with closing(connect(tight)) as end:
        begin = time.monotonic()
        head = ("Content-Length: 100", "Content-Type: application/json", "x-mlflow-experiment-id: 0")
        end.sendall(start_of(f"{method} {path}", *head, who=tight.admin if path == "/v1/traces" else tight.trainer) + b"{")
        status, _, body = read(end)
        assert status == 408 and "nothing for 1.5 seconds" in sentence(body)
        assert 1 < time.monotonic() - begin < 6


def test_a_body_that_trickles_has_its_time_and_an_artifact_has_more(tight: Registry) -> None:
    for method, path, status in (("POST", SET_TAG, 408), ("PUT", f"{ARTIFACTS}/1/{'0' * 32}/artifacts/slow", 0)):
        with closing(connect(tight)) as end:
            end.sendall(start_of(f"{method} {path}", "Content-Length: 20000", who=tight.trainer))
            took = trickle(end, b"x", 6)
            assert (2.5 < took < 5) if status else took > 5.5
            if status:
                answer = read(end)
                assert answer[0] == status and "not whole within 3 seconds" in sentence(answer[2])


def test_what_is_refused_inside_is_not_read_to_its_end(tight: Registry) -> None:
    with closing(connect(tight)) as end:
        end.sendall(start_of("POST /v1/traces", "Content-Length: 20000", who=tight.vic))
        begin = time.monotonic()
        status, headers, _ = read(end)
        assert (status, headers["connection"]) == (403, "close")
        assert time.monotonic() - begin < 1.5, "the server closes, and waits for nothing"


def test_artifacts_may_be_longer_and_have_an_end(tight: Registry) -> None:
    put = f"PUT {ARTIFACTS}/1/{'0' * 32}/artifacts/long"
    for method, size, status in ((put, 50_001, 413), (put, 40_000, None), (f"POST {SET_TAG}", 20_001, 413)):
        with closing(connect(tight)) as end:
            end.sendall(start_of(method, f"Content-Length: {size}", "Connection: close", who=tight.trainer) + b"x" * size)
            answer = read(end)
            assert answer[0] == status if status else answer[0] != 413, answer


def test_half_a_body_does_nothing(tight: Registry) -> None:
    body = json.dumps({"action": "keep", "product": "half"})
    before = newest(tight)[0].seq
    with closing(connect(tight)) as end:
        head = ("Content-Type: application/json", f"Content-Length: {len(body) + 1}")
        end.sendall(start_of("POST /changeover/events", *head, who=tight.trainer) + body.encode())
    time.sleep(1)
    assert newest(tight)[0].seq == before


def test_connections_have_a_bound_and_it_is_said(tight: Registry) -> None:
    held = [connect(tight) for _ in range(30)]
    try:
        assert httpx.get(f"{tight.url}/health").status_code == 200, "who speaks goes before who is silent"
        for one in held[:15]:
            status, _, body = read(one)
            assert status == 503 and "12 connections are open" in sentence(body)
    finally:
        for one in held:
            one.close()
    time.sleep(0.5)
    busy = [connect(tight) for _ in range(TIGHT.connections)]
    try:
        for one in busy:
            one.sendall(start_of(f"POST {SET_TAG}", "Content-Length: 9", who=tight.ana))
        time.sleep(0.3)
        with closing(connect(tight)) as end:
            assert read(end)[0] == 503
    finally:
        for one in busy:
            one.close()
    time.sleep(0.5)
    assert httpx.get(f"{tight.url}/health").status_code == 200


def test_an_answer_that_nobody_takes_is_given_up(tight: Registry) -> None:
    page = httpx.get(tight.url, auth=("vic", PASSWORD)).text
    script = re.search(r'src="(static-files/[^"]*main[^"]*[.]js)"', page)
    assert script, page
    size = len(httpx.get(f"{tight.url}/{script.group(1)}").content)
    held = []
    for _ in range(TIGHT.connections):
        end = socket.socket()
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        host, _, port = tight.url.removeprefix("http://").partition(":")
        end.connect((host, int(port)))
        for _ in range(1 + 20_000_000 // size):  # more than the kernel holds for a reader that does not read
            end.sendall(start_of(f"GET /{script.group(1)}", who=tight.vic))
        held.append(end)
    deadline = time.monotonic() + 20
    try:
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{tight.url}/health", timeout=5).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.3)
        pytest.fail("the connections were held for ever")
    finally:
        for one in held:
            one.close()


def test_what_was_only_counted_is_written_when_the_server_ends(tmp_path: Path) -> None:
    from registry.trail.audit import read_events

    with running(tmp_path / "state") as registry:
        for _ in range(60):
            assert registry.post(None, SET_TAG, {}).status_code == 401
        assert httpx.get(registry.url + HEALTH).status_code == 401
        database = registry.database
    events = [event for event in read_events(database) if event.actor == "(unauthenticated)"]
    assert [event.action for event in events[:20]] == [f"POST {SET_TAG}"] * 20
    assert [event.reason for event in events[20:]] == ["and 40 more attempts from 1 addresses in the last minute, the last as ''"]


def test_a_refusal_closes_only_where_a_body_is_left() -> None:
    async def sent(headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
        messages: list[Message] = []

        async def send(message: Message) -> None:
            messages.append(message)

        await Refusal(401, "X", "no").send({"headers": headers}, send)
        return dict(messages[0]["headers"])

    assert b"connection" not in anyio.run(sent, [])
    assert b"connection" not in anyio.run(sent, [(b"content-length", b"0")])
    assert anyio.run(sent, [(b"content-length", b"5")])[b"connection"] == b"close"
    assert anyio.run(sent, [(b"transfer-encoding", b"chunked")])[b"connection"] == b"close"
