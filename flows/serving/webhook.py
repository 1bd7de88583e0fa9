"""The receiver of MLflow's webhook: a signature takes effect in seconds, not at the next look."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from flows.plant import Plant
from flows.serving.door import complaint
from flows.serving.services import connect_as
from registry.secrets import prepare
from registry.server.webhook import LONGEST_BODY, Deliveries, subscribe

STAMPED_SECONDS: Final = 0.3
"""MLflow delivers while the gate still stamps the decision."""
DELIVERY_SECONDS: Final = 10.0
"""For one whole delivery, from the connection to the last byte: who sends a byte now and then does not hold on."""
AT_ONCE: Final = 16
"""Connections that are heard at the same time; one more is closed at once, and MLflow delivers again."""
SAID_SECONDS: Final = 60.0
"""Between two lines about refused deliveries: who forges many fills no log."""


class Receiver:
    """Listens on a loopback port and calls ``act``, in a thread of its own, after genuine deliveries; several at once are one."""

    def __init__(self, secret: str, act: Callable[[], object], log: Callable[[str], None]) -> None:
        self._deliveries, self._act, self._log = Deliveries(secret), act, log
        self._came, self._checking = threading.Event(), threading.Lock()
        self._refused, self._said = 0, float("-inf")
        self._server = _BoundedServer(("127.0.0.1", 0), self._handler())

    @property
    def port(self) -> int:
        """The port that was free."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Where to deliver."""
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Begin to listen; the threads end with the process."""
        threading.Thread(target=self._server.serve_forever, name="webhook", daemon=True).start()
        threading.Thread(target=self._work, name="promotion", daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            server_version, sys_version = "changeover", ""

            def do_POST(self) -> None:
                length = self.headers.get("Content-Length", "")
                if problem := complaint(self.headers.items(), receiver.port):
                    self._answer(problem[0])
                elif self.path != "/":
                    self._answer(404)
                elif self.headers.get("Transfer-Encoding") or not (length.isascii() and length.isdecimal()):
                    self._answer(411)
                elif len(length) > 10 or int(length) > LONGEST_BODY:
                    self._answer(413)
                else:
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    body = self.rfile.read(int(length))
                    # What was cut short has said nothing: the deadline passed, or the sender went away.
                    whole = len(body) == int(length)
                    self._answer(400 if not whole else 403 if receiver.check(headers, body) else 204)

            def _answer(self, status: int) -> None:
                self.send_response(status)
                self.end_headers()
                self.close_connection = True

            def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
                """What is no request, or has another method (501), gets a bare status too."""
                self._answer(code)

            def log_message(self, *_: object) -> None:
                pass  # what matters is said once, by ``check``

        return Handler

    def check(self, headers: dict[str, str], body: bytes) -> str | None:
        """Why a delivery is refused; None where it will be acted on."""
        with self._checking:
            problem = self._deliveries.problem(headers, body, time.time())
            if problem is None:
                self._came.set()
                return None
            self._refused += 1
            if time.monotonic() - self._said >= SAID_SECONDS:
                more = f" ({self._refused} since the last such line)" if self._refused > 1 else ""
                self._log(f"a delivery of the registry's webhook was refused: {problem}{more}")
                self._refused, self._said = 0, time.monotonic()
        return problem

    def _work(self) -> None:
        while True:
            self._came.wait()
            time.sleep(STAMPED_SECONDS)
            self._came.clear()
            try:
                self._act()
            except Exception as error:  # noqa: BLE001 - the poll comes in a minute; a receiver that died would go unnoticed
                self._log(f"promotion after a delivery failed: {' '.join(str(error).split())[:300]}")


class _BoundedServer(ThreadingHTTPServer):
    """At most ``AT_ONCE`` threads, each for at most ``DELIVERY_SECONDS``."""

    request_queue_size = 64  # who waits to be accepted

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self._free = threading.BoundedSemaphore(AT_ONCE)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        deadline = threading.Timer(DELIVERY_SECONDS, _hang_up, [request])
        deadline.daemon = True
        deadline.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            deadline.cancel()
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, or was hung up on, is no fault of ours and fills no log."""


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def receive(plant: Plant, act: Callable[[], object], log: Callable[[str], None]) -> Receiver:
    """Listen for the plant's registry, and ask it to deliver here."""
    secret = prepare(plant.state / "mlflow").webhook
    receiver = Receiver(secret, act, log)
    receiver.start()
    subscribe(connect_as(plant, "admin"), receiver.url, secret)
    return receiver
