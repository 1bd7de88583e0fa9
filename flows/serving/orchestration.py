"""The plant's Prefect server, as a client of it sees it."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.errors import PlantError, ServerError
from flows.plant import Plant
from flows.serving.prefect_password import FOR_CLIENTS, prefect_password
from flows.serving.run_record import our_run
from flows.serving.servers import address, server_status
from flows.terminal import log, show_cursor

GONE = 2
"""The exit code of a run whose server ended: start it, and run the same command again."""
_GONE = (
    "the Prefect server of {} ended in the middle of the run, by 'changeover down' or otherwise; start it with"
    " 'changeover up', and run the same command again to go on from here"
)


def connect(plant: Plant) -> str:
    """Point Prefect in this process and its children at the plant's server; the server's address. ServerError if it is not up.

    Has to be called before Prefect is imported for the first time. Prefect's log goes to its server, not to the terminal,
    which shows the progress instead. From here on this process works for ``plant`` and no other.
    """
    url = address(plant, "prefect")
    os.environ.pop("PREFECT_PROFILE", None)
    os.environ.update(
        {FOR_CLIENTS: prefect_password(plant)},
        CHANGEOVER_PLANT=str(plant.path),
        PREFECT_API_URL=f"{url}/api",
        PREFECT_HOME=str(plant.state / "prefect"),
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL="CRITICAL",
        PREFECT_LOGGING_ROOT_LEVEL="CRITICAL",
        PREFECT_RUNNER_POLL_FREQUENCY="1",
        PREFECT_CLI_PROMPT="false",
    )
    return url


@contextmanager
def ends_with_prefect(plant: Plant) -> Iterator[None]:
    """While the block makes a run: where the Prefect server ends, the stage ends and so does this process, with one sentence.

    Prefect itself would go on to the end, in vain, tell of each event that it cannot send, and hold its process up for minutes.
    What the run was at is left as by a kill; the same command goes on from there.
    """
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            if not server_status(plant)["prefect"].running:
                _end_stage(over)
                if not over.is_set():
                    show_cursor()
                    log(f"error: {_GONE.format(plant.path)}")
                    os._exit(GONE)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    except Exception as problem:
        if server_status(plant)["prefect"].running:
            raise
        raise ServerError(_GONE.format(plant.path)) from problem
    finally:
        over.set()


def _end_stage(over: threading.Event) -> None:
    # By signals alone: to wait for it here would take its exit code from who started it.
    for number in (signal.SIGTERM, signal.SIGKILL):
        end = time.monotonic() + 5
        while (run := our_run()) and run.stage and run.stage.alive() and not over.is_set() and time.monotonic() < end:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run.stage.pid, number)
            time.sleep(0.1)


def own_plant(named: object) -> Plant:
    """The plant that this process works for, which a flow's parameter has to name too.

    Parameters come from Prefect, where an event or a run asked for by hand can carry any text. PlantError for another plant.
    """
    own = os.environ.get("CHANGEOVER_PLANT", "")
    if not own or named != own:
        at_work = f"this process works for {own or 'no plant'}"
        raise PlantError(f"parameter plant is {ascii(named)[:200]}, but {at_work}; ask the 'serve' of that plant")
    return Plant.open(Path(own))
