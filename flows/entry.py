"""Where the command ``changeover`` begins: it looks whether what it is about to import is ours."""

import sys
from importlib.util import find_spec
from pathlib import Path

ROOMS = ("core", "data", "models", "registry")


def foreign_rooms() -> list[tuple[str, str]]:
    """Packages of our rooms' names that Python would import from elsewhere, or not find, each with its place.

    Every second project has a module that is called ``data`` or ``models``; of two in one environment, one shadows the other.
    """
    home = Path(__file__).resolve().parents[1]
    found = []
    for room in ROOMS:
        spec = find_spec(room)
        place = None if spec is None else spec.origin or next(iter(spec.submodule_search_locations or ()), None)
        if place is None or home / room not in (Path(place).resolve(), Path(place).resolve().parent):
            found.append((room, place or "nowhere"))
    return found


def main() -> None:
    """The command line; exit code 2, in one line, where another project shadows one of our rooms."""
    for room, place in foreign_rooms():
        home = Path(__file__).resolve().parents[1]
        text = f"the Python package {room!r} is imported from {place}, not from {home}"
        fix = "another project of this environment has a module of that name; install changeover into an environment of its own"
        print(f"error: {text}: {fix} (python -m venv changeover-env; changeover-env/bin/pip install changeover)", file=sys.stderr)
        sys.exit(2)

    from flows.cli import app

    app()
