"""``changeover request``."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import PlantOption, ProductOption, RequesterOption, password_of, the_plant


def request(
    product: ProductOption,
    batch: Annotated[str, typer.Option("--batch", "-b", metavar="NAME", help="The batch, such as 2026-11-21-a.")],
    images: Annotated[Path, typer.Option("--images", "-i", metavar="FOLDER", help="Folder of good images.")],
    user: RequesterOption = None,
    plant: PlantOption = None,
) -> None:
    """Ask a running 'changeover serve' for a changeover, by an event, and return at once."""
    from flows.request import request as ask
    from flows.requester import Requester, ask_as_person, requested_by
    from flows.serving.services import connect_as_person
    from flows.terminal import answer

    place = the_plant(plant)
    requester = Requester(requested_by())
    if user:
        requester = ask_as_person(connect_as_person(place, user, password_of(user)), product, batch)
    ask(place, product, batch, images, requester)
    answer(f"asked for a changeover of {product} {batch}; see 'changeover status'")
