"""``changeover lineage``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import JsonOption, PlantOption, known_product, the_plant


def lineage(
    product: Annotated[str, typer.Argument(metavar="PRODUCT", help="The product, such as bolt-m6.")],
    version: Annotated[int, typer.Argument(metavar="VERSION", help="The version.")],
    picture: Annotated[Path | None, typer.Option("--picture", metavar="FILE.svg", help="Draw it into this file as well.")] = None,
    plant: PlantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show everything that a version rests on: images, settings, training, packages, gates, signature, and what became of it."""
    from core.errors import BadSettings
    from core.files import write_text
    from flows.records.lineage import lineage as trace
    from flows.records.lineage_picture import picture as draw
    from flows.serving.services import connect_as
    from flows.terminal import answer, log, waiting

    if picture is not None and (picture.suffix.lower() != ".svg" or picture.is_dir()):
        raise BadSettings(f"--picture {str(picture)!r} is no SVG file; name one, such as lineage.svg")
    place = the_plant(plant)
    known_product(place, product)
    with waiting("asking the registry"):
        found = trace(place, connect_as(place, "trainer"), product, version)
    if picture is not None:
        write_text(picture, draw(found))
        log(f"drawn into {picture}")
    if as_json:
        print(json.dumps(found.as_dict(), indent=2))
        return
    for line in found.as_text().splitlines():
        answer(line)
