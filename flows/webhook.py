"""The receiver of MLflow's webhook: a signature takes effect in seconds, not at the next look."""

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from flows.plant import Plant
from flows.services import connect_as
from registry.users import prepare
from registry.webhook import LONGEST_BODY, Deliveries, subscribe

STAMPED_SECONDS = 0.3
"""MLflow delivers while the gate still stamps the decision."""


class Receiver:
    """Listens on a loopback port and calls ``act``, in a thread of its own, after genuine deliveries; several at once are one."""

    def __init__(self, secret: str, act: Callable[[], object], say: Callable[[str], None]) -> None:
        self._deliveries, self._act, self._say = Deliveries(secret), act, say
        self._came, self._judging = threading.Event(), threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())

    @property
    def url(self) -> str:
        """Where to deliver."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

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
            timeout = 10

            def do_POST(self) -> None:
                length = self.headers.get("Content-Length", "")
                if not length.isdecimal() or int(length) > LONGEST_BODY:
                    self.send_error(413)
                    return
                headers = {name.lower(): value for name, value in self.headers.items()}
                problem = receiver.judge(headers, self.rfile.read(int(length)))
                self.send_response(204 if problem is None else 403)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass  # what matters is said once, by ``judge``

        return Handler

    def judge(self, headers: dict[str, str], body: bytes) -> str | None:
        """Why a delivery is refused; None where it will be acted on."""
        with self._judging:
            problem = self._deliveries.problem(headers, body, time.time())
        if problem is None:
            self._came.set()
        else:
            self._say(f"a delivery of the registry's webhook was refused: {problem}")
        return problem

    def _work(self) -> None:
        while True:
            self._came.wait()
            time.sleep(STAMPED_SECONDS)
            self._came.clear()
            try:
                self._act()
            except Exception as error:  # noqa: BLE001 - the poll comes in a minute; a receiver that died would go unnoticed
                self._say(f"promotion after a delivery failed: {' '.join(str(error).split())[:300]}")


def receive(plant: Plant, act: Callable[[], object], say: Callable[[str], None]) -> Receiver:
    """Listen for the plant's registry, and ask it to deliver here."""
    secret = prepare(plant.state / "mlflow").webhook
    receiver = Receiver(secret, act, say)
    receiver.start()
    subscribe(connect_as(plant, "admin"), receiver.url, secret)
    return receiver
