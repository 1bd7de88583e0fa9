"""``changeover inspect``."""

import json
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import JsonOption, PlantOption, ProductOption, known_product, the_plant


def inspect(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES...", help="Images, or folders of images.")],
    product: ProductOption,
    version: Annotated[int | None, typer.Option("--version", metavar="N", help="Take this version, not the champion.")] = None,
    alias: Annotated[str, typer.Option("--alias", help="champion, candidate or previous.")] = "champion",
    published: Annotated[
        Path | None,
        typer.Option("--published", metavar="FOLDER", help="As the line does: this folder's current model, no plant."),
    ] = None,
    publisher: Annotated[
        Path | None, typer.Option("--publisher", metavar="FILE", help="The publisher.pub that the line pinned.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FOLDER", help="Write overlays as PNG here.")] = None,
    plant: PlantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Inspect images with the champion: pass or reject, with the score. Ends with 1 if an image could not be inspected."""
    from data.errors import BadSettings
    from flows.fetch import fetch_model
    from flows.inspect import image_files, published_model
    from flows.inspect import inspect as look
    from flows.terminal import print_table, waiting

    with ExitStack() as stack:
        if published is not None or publisher is not None:
            if published is None or publisher is None or version is not None:
                raise BadSettings("--published and --publisher go together, and without --version; name the folder and the key")
            files = image_files(images)
            number, model = stack.enter_context(published_model(published, product, publisher))
        else:
            place = the_plant(plant)
            known_product(place, product)
            files = image_files(images)
            fetched = fetch_model(place, product, version, alias)
            number, model = fetched.version.version, fetched.path
        say = stack.enter_context(waiting(f"inspecting {len(files)} images"))
        rows = []
        for row in look(model, files, out):
            rows.append(row)
            if len(rows) % 50 == 0:
                say(f"inspected {len(rows)} of {len(files)} images")
    bad = sum(row.verdict == "error" for row in rows)
    if as_json:
        print(json.dumps({"product": product, "version": number, "images": [asdict(row) for row in rows]}, indent=2))
    else:
        cells = [
            (row.image, row.verdict, "" if row.score is None else f"{row.score:.3f}", row.overlay or row.reason) for row in rows
        ]
        print_table(f"{product}, version {number}", ("image", "verdict", "score", "overlay" if out else "remark"), cells)
        rejected = sum(row.verdict == "reject" for row in rows)
        typer.echo(f"{len(rows) - bad - rejected} pass, {rejected} reject, {bad} could not be inspected", err=True)
    if bad:
        raise typer.Exit(1)
