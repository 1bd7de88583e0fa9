"""``changeover init``."""

from pathlib import Path
from typing import Annotated

import typer


def init(path: Annotated[Path, typer.Argument(metavar="PATH", help="An empty or new folder.")]) -> None:
    """Make a plant: a folder, kept by git and DVC, for every product's batches and records."""
    from flows.plant import Plant
    from flows.terminal import answer, waiting

    with waiting(f"making {path}"):
        plant = Plant.init(path)
    answer(f"plant {plant.path} is ready; next: cd {plant.path} && changeover up")
