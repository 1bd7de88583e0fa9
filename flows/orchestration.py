"""The plant's Prefect server, as a client of it sees it."""

import os
from pathlib import Path

from flows.errors import PlantError
from flows.plant import Plant
from flows.prefect_password import FOR_CLIENTS, prefect_password
from flows.servers import address


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


def own_plant(named: object) -> Plant:
    """The plant that this process works for, which a flow's parameter has to name too.

    Parameters come from Prefect, where an event or a run asked for by hand can carry any text. PlantError for another plant.
    """
    own = os.environ.get("CHANGEOVER_PLANT", "")
    if not own or named != own:
        at_work = f"this process works for {own or 'no plant'}"
        raise PlantError(f"parameter plant is {ascii(named)[:200]}, but {at_work}; ask the 'serve' of that plant")
    return Plant.open(Path(own))
