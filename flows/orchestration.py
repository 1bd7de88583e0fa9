"""The plant's Prefect server, as a client of it sees it."""

import os

from flows.plant import Plant
from flows.servers import address


def connect(plant: Plant) -> str:
    """Point Prefect in this process and its children at the plant's server; the server's address. ServerError if it is not up.

    Has to be called before Prefect is imported for the first time. Prefect's log goes to its server, not to the terminal,
    which shows the progress instead.
    """
    url = address(plant, "prefect")
    os.environ.pop("PREFECT_PROFILE", None)
    os.environ.update(
        PREFECT_API_URL=f"{url}/api",
        PREFECT_HOME=str(plant.state / "prefect"),
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL="CRITICAL",
        PREFECT_LOGGING_ROOT_LEVEL="CRITICAL",
        PREFECT_RUNNER_POLL_FREQUENCY="1",
        PREFECT_CLI_PROMPT="false",
    )
    return url
