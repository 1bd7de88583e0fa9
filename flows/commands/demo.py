"""``changeover demo``."""

from pathlib import Path
from typing import Annotated

import typer


def demo(folder: Annotated[Path, typer.Option("--folder", help="Where the demo's plant is made.")] = Path("demo-plant")) -> None:
    """See it work: a plant, a sample product, a candidate to sign, in a few minutes."""
    from flows.demo import demo as show

    show(folder)
