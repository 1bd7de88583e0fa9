"""``changeover promote``."""

from typing import Annotated

import typer

from flows.commands.options import PlantOption, ProductOption, known_product, the_plant


def promote(
    product: ProductOption,
    version: Annotated[
        int | None, typer.Option("--version", metavar="N", min=1, help="An approved version; else the candidate.")
    ] = None,
    plant: PlantOption = None,
) -> None:
    """Make the signed candidate the champion, and publish it to the folder that the line reads."""
    from flows.records.trail import check_head, keep_head
    from flows.steps.promote import promote as do
    from flows.terminal import answer, log, waiting

    place = the_plant(plant)
    known_product(place, product)
    with waiting(f"promoting {product}"):
        for silent in check_head(place):
            log(f"a witness of the audit trail could not be asked: {silent}")
        done = do(place, product, version)
    answer(
        f"version {done.version} of {product} is {'now' if done.changed else 'already'} the champion, published to {done.folder}"
    )
    keep_head(place)
