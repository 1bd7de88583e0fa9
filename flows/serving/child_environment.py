"""The environment of the processes that we start: servers and stages."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

PREFECT_PASSWORD: Final = ("PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING")
"""Where clients of Prefect look for its password, and its server."""
TELEMETRY_OFF: Final = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
}
WAITING: Final = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Torch's threads sleep while they wait: where they spin, choosing the fusion beside another program took 118 s instead of 8. It
is read once, when torch is loaded."""
ONLY_INSTALLED: Final = {"PYTHONSAFEPATH": "1"}
"""Modules are not looked for in the working directory: a plant may have a folder ``data`` with an ``__init__.py``."""
# With PYTHONDONTWRITEBYTECODE every start of a server compiles everything anew.
UNWANTED: Final = frozenset(
    {"PYTHONDONTWRITEBYTECODE", "PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_API_KEY", "MLFLOW_TRACKING_URI"}
    # A password is given to who needs it, by name, and to no other child.
    | {*PREFECT_PASSWORD, "CHANGEOVER_PASSWORD"}
)
"""What they are not given."""


def child_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Our environment for a server or a stage: telemetry off, this Python first, no settings of other Prefects."""
    kept = {name: value for name, value in os.environ.items() if name not in UNWANTED}
    kept["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    # Their settings and logs are written and read as UTF-8 whatever the locale is.
    return (
        kept
        | TELEMETRY_OFF
        | WAITING
        | ONLY_INSTALLED
        | {"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8:backslashreplace"}
        | dict(extra)
    )
