"""``changeover rebuild``."""

import json
from typing import Annotated

import typer

from flows.commands.options import JsonOption, PlantOption, known_product, the_plant


def rebuild(
    product: Annotated[str, typer.Argument(metavar="PRODUCT", help="The product, such as bolt-m6.")],
    version: Annotated[int, typer.Argument(metavar="VERSION", help="The version to train again.")],
    plant: PlantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a version again from its record and compare. Ends with 1 if it is different; takes as long as its training did."""
    from flows.records.rebuild import rebuild as again
    from flows.serving.services import connect_as
    from flows.terminal import log, print_table, reporting

    place = the_plant(plant)
    known_product(place, product)
    with reporting(f"rebuilding {product} {version}") as report:
        done = again(place, connect_as(place, "trainer"), product, version, report)
    if as_json:
        print(json.dumps(done.as_dict(), indent=2))
    else:
        rows = [(row.what, row.recorded, row.rebuilt, row.result) for row in done.rows]
        print_table(f"{product}, version {done.version}", ("what", "recorded", "rebuilt", "result"), rows)
        for line in (*(f"not as it was: {text}" for text in done.explained), *done.remarks):
            log(line)
        log(f"version {done.version} of {product} from commit {done.commit[:10]}: {done.outcome}, after {done.seconds:.0f} s")
    if done.outcome == "different":
        raise typer.Exit(1)
