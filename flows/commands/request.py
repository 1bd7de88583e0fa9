"""``changeover request``."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import PlantOption, ProductOption, the_plant


def request(
    product: ProductOption,
    batch: Annotated[str, typer.Option("--batch", "-b", metavar="NAME", help="The batch, such as 2026-11-21-a.")],
    images: Annotated[Path, typer.Option("--images", "-i", metavar="FOLDER", help="Folder of good images.")],
    plant: PlantOption = None,
) -> None:
    """Ask a running 'changeover serve' for a changeover, by an event, and return at once."""
    from flows.serve import request as ask

    ask(the_plant(plant), product, batch, images)
    print(f"asked for a changeover of {product} {batch}; see 'changeover status'")
