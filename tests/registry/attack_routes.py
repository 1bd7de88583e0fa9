"""Every route of the registry's server, read from the installed MLflow and from the application as it is served.

Run as a program in the server's environment: prints a JSON list of [path, method] pairs. The list comes from three places, so
that none of MLflow's upgrades adds a route that nobody tries: its table of endpoints, Flask's map of addresses, FastAPI's routes.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from registry.server.app import server_command

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def routes(state: Path) -> list[tuple[str, frozenset[str]]]:
    """Each path of a server whose state is ``state`` (a folder of its own), with the methods that it is made for."""
    _, environment = server_command(state, 5000)
    command = [sys.executable, "-m", __name__]
    folder = Path(__file__).parents[2]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, set[str]] = {}
    for path, method in json.loads(done.stdout.splitlines()[-1]):
        found.setdefault(path, set()).add(method)
    return [(path, frozenset(methods)) for path, methods in sorted(found.items())]


def _served() -> set[tuple[str, str]]:
    from mlflow.server import app as flask_app
    from mlflow.server.handlers import get_endpoints

    from registry.server.app import create_app

    app = create_app()
    found = {(path, method) for path, _, methods in get_endpoints() for method in methods}
    found |= {(rule.rule, method) for rule in flask_app.url_map.iter_rules() for method in rule.methods or ()}
    found |= set(_of_fastapi(app.routes, ""))
    return {(path, method) for path, method in found if method in METHODS}


def _of_fastapi(listed: Any, before: str) -> Iterator[tuple[str, str]]:
    for route in listed:
        for method in getattr(route, "methods", None) or ():
            yield before + route.path, method
        # FastAPI 0.150 keeps routers that were included as they are, behind a route without a path.
        router, context = getattr(route, "original_router", route), getattr(route, "include_context", None)
        prefix = context.prefix if context is not None else getattr(route, "path", "")
        yield from _of_fastapi(getattr(router, "routes", None) or (), before + prefix)


if __name__ == "__main__":
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    print(json.dumps(sorted(_served())))
