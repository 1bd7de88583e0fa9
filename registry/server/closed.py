"""What of MLflow is closed here to everybody, administrators too: it reaches out of the registry, and no sign-off needs it.

An administrator of the registry gives accounts, and is not to become the plant's account of the operating system, whose files
hold every secret.
"""

import re
from typing import Final

_CLOSED: Final = (
    # Its providers run programs on the server, and its settings lie in the home folder of the account that runs it.
    (re.compile(r"/ajax-api/3\.0/mlflow/assistant(?:/.*)?", re.DOTALL), "assistant", ("/config", "/providers")),
    # It connects to addresses that a request names, and looks for models in the internet.
    (re.compile(r"(?:/gateway|/(?:ajax-)?api/[0-9.]+/mlflow/gateway(?:-proxy)?)(?:/.*)?", re.DOTALL), "gateway",
     ("/supported-providers", "/provider-config", "/secrets/config", "/list", "/mlflow/v1/models")),
    # It runs functions on the server; a search of one's own is a POST.
    (re.compile(r"/ajax-api/3\.0/jobs(?:/(?!search$).*)?", re.DOTALL), "runner of jobs", ()),
)  # fmt: skip
_READS: Final = ("GET", "HEAD", "OPTIONS")


def why_closed(method: str, path: str) -> str | None:
    """Why nobody may use ``path`` (in normal form) with ``method``; None where it is not closed.

    What MLflow's own pages read of it without any effect is answered.
    """
    for places, what, shown in _CLOSED:
        if places.fullmatch(path) and not (method in _READS and path.endswith(shown)):
            return f"MLflow's {what} is closed on this server: it reaches beyond the registry, whoever uses it; do without it"
    return None
