"""Options that several verbs share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from registry.printable import printable

if TYPE_CHECKING:
    from flows.plant import Plant

PlantOption = Annotated[
    Path | None,
    typer.Option("--plant", envvar="CHANGEOVER_PLANT", metavar="FOLDER", help="The plant; else the one around here."),
]
ProductOption = Annotated[str, typer.Option("--product", "-p", metavar="NAME", help="The product, such as bolt-m6.")]
RequesterOption = Annotated[
    str | None,
    typer.Option(
        "--user",
        metavar="NAME",
        help="Who asks, as the registry knows them; the password is CHANGEOVER_PASSWORD or asked for. Else this account does.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object for a program to read.")]


def the_plant(folder: Path | None) -> "Plant":
    """The plant that the user means: ``--plant`` exactly, else the nearest one at or above the working directory."""
    from flows.plant import Plant

    return Plant.open(folder) if folder else Plant.find()


def password_of(user: str) -> str:
    """The password of ``user``: ``CHANGEOVER_PASSWORD``, else what is typed unseen."""
    import os

    given = os.environ.get("CHANGEOVER_PASSWORD")
    return given or str(typer.prompt(printable(f"password of {user}"), hide_input=True, err=True))


def known_product(plant: "Plant", product: str) -> str:
    """``product`` if the plant has it; PlantError that lists those there are otherwise."""
    from data.batch import check_name
    from flows.errors import PlantError

    check_name("product", product)
    there = plant.products()
    if product not in there:
        names = ", ".join(there[:8]) + (" …" if len(there) > 8 else "")
        fix = f"it has {names}" if there else "it has none yet; make one with 'changeover run'"
        raise PlantError(f"product {product!r} is not in the plant {plant.path}; {fix}")
    return product
