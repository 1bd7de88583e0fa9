"""The port of the webhook's receiver: genuine deliveries are acted on, and nobody else gets anything done or holds it up."""

import http.client
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from mlflow.webhooks.delivery import _generate_hmac_signature

from flows.serving import webhook
from flows.serving.webhook import Receiver

BODY = b'{"entity": "model_version_tag", "data": {"key": "qa"}}'


class Heard:
    """What a receiver did and said."""

    def __init__(self) -> None:
        self.acted, self.lines = threading.Event(), list[str]()
        self.receiver = Receiver("s3cret", self.acted.set, self.lines.append)
        self.receiver.start()

    def ask(self, method: str = "POST", path: str = "/", body: bytes = BODY, **headers: str) -> int:
        """The status of one request; headers by name with ``_`` for ``-``."""
        line = http.client.HTTPConnection("127.0.0.1", self.receiver.port, timeout=10)
        try:
            line.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            return line.getresponse().status
        finally:
            line.close()

    def raw(self, request: bytes) -> bytes:
        """What comes back for these very bytes."""
        with socket.create_connection(("127.0.0.1", self.receiver.port), timeout=10) as line:
            line.sendall(request)
            return line.recv(100)

    def signed(self, number: str = "d-1") -> dict[str, str]:
        """Headers as MLflow makes them."""
        stamp = str(int(time.time()))
        signature = _generate_hmac_signature("s3cret", number, stamp, BODY.decode())
        return {"X_MLflow_Delivery_Id": number, "X_MLflow_Timestamp": stamp, "X_MLflow_Signature": signature}


@pytest.fixture
def heard() -> Iterator[Heard]:
    made = Heard()
    yield made
    made.receiver.close()


def test_a_genuine_delivery_is_acted_on(heard: Heard) -> None:
    assert heard.ask(**heard.signed()) == 204
    assert heard.acted.wait(5) and not heard.lines


def test_a_repeated_or_forged_one_is_not(heard: Heard) -> None:
    headers = heard.signed()
    assert heard.ask(**headers) == 204 and heard.acted.wait(5)
    heard.acted.clear()
    assert heard.ask(**headers) == 403
    assert heard.ask(**(heard.signed("d-2") | {"X_MLflow_Delivery_Id": "d-3"})) == 403
    assert not heard.acted.wait(1)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_other_names_and_pages_are_refused_with_a_right_signature(heard: Heard, headers: dict[str, str], status: int) -> None:
    assert heard.ask(**heard.signed(), **headers) == status
    assert not heard.acted.wait(1)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "__class__"])
def test_it_knows_one_method(heard: Heard, method: str) -> None:
    assert heard.ask(method, **heard.signed()) == 501
    assert not heard.acted.wait(0.5)


def test_paths_lengths_and_encodings(heard: Heard) -> None:
    assert heard.ask(path="/else", **heard.signed()) == 404
    assert heard.ask(body=b"x" * (webhook.LONGEST_BODY + 1), Content_Length=str(webhook.LONGEST_BODY + 1)) == 413
    own = f"Host: 127.0.0.1:{heard.receiver.port}\r\n".encode()
    for head, status in (
        (b"", b" 411 "),
        (b"Content-Length: -1\r\n", b" 411 "),
        (b"Content-Length: 1e3\r\n", b" 411 "),
        (b"Content-Length: \xb2\r\n", b" 411 "),
        (b"Content-Length: " + b"9" * 5000 + b"\r\n", b" 413 "),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n", b" 411 "),
    ):
        assert status in heard.raw(b"POST / HTTP/1.1\r\n" + own + head + b"\r\n{}"), head
    assert b" 431 " in heard.raw(b"POST / HTTP/1.1\r\n" + own + b"Content-Length: 2\r\n" * 200 + b"\r\n{}")
    assert heard.raw(b"nonsense with more words than three\r\n\r\n") == b""
    assert not heard.acted.wait(0.5)


def test_who_forges_many_fills_no_log(heard: Heard) -> None:
    for _ in range(20):
        assert heard.ask() == 403
    assert len(heard.lines) == 1 and "not signed with this plant's secret" in heard.lines[0]


def test_slow_senders_hold_nobody_up(monkeypatch: pytest.MonkeyPatch, heard: Heard) -> None:
    monkeypatch.setattr(webhook, "DELIVERY_SECONDS", 2.0)
    begin = time.monotonic()
    lines = [socket.create_connection(("127.0.0.1", heard.receiver.port), timeout=10) for _ in range(webhook.AT_ONCE)]
    for number, line in enumerate(lines):
        line.sendall(b"POST / HTTP/1.1\r\nContent-Le" if number % 2 else b"")
    deadline = time.monotonic() + 5
    while len([one for one in threading.enumerate() if "process_request_thread" in one.name]) < webhook.AT_ONCE:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    # One more is not heard, and no thread is made for it.
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        heard.ask(**heard.signed())
    for line in lines:  # a byte now and then does not help
        line.settimeout(5)
        try:
            while time.monotonic() - begin < 6:
                line.sendall(b"x")
                time.sleep(0.01)
                if not line.recv(100):
                    break
        except OSError:
            pass
        line.close()
    assert time.monotonic() - begin < 6
    assert heard.ask(**heard.signed("d-2")) == 204 and heard.acted.wait(5)
