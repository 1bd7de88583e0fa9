"""``changeover inspect``."""

import json
from collections import Counter
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
    """Inspect images with the champion: pass, reject or not judged. Ends with 1 if anything could not be inspected.

    Not judged is an image in which the part was not found. A part is good only where it says pass.

    Hidden files, overlays of earlier inspections and what is no image are skipped, and named.
    """
    from core.errors import BadSettings
    from flows.inspect import NOT_JUDGED, find_images, published_model
    from flows.inspect import inspect as inspect_images
    from flows.steps.fetch import fetch_model
    from flows.terminal import print_table, waiting

    with ExitStack() as stack:
        if published is not None or publisher is not None:
            if published is None or publisher is None or version is not None:
                raise BadSettings("--published and --publisher go together, and without --version; name the folder and the key")
            places = find_images(images, out)
            number, model = stack.enter_context(published_model(published, product, publisher))
        else:
            place = the_plant(plant)
            known_product(place, product)
            places = find_images(images, out)
            fetched = fetch_model(place, product, version, alias)
            number, model = fetched.version.version, fetched.path
        log = stack.enter_context(waiting(f"inspecting {len(places.files)} images"))
        rows = list(places.rows)
        for row in inspect_images(model, places.files, out):
            rows.append(row)
            if (done := len(rows) - len(places.rows)) % 50 == 0:
                log(f"inspected {done} of {len(places.files)} images")
    count = Counter(row.verdict for row in rows)
    if as_json:
        print(json.dumps({"product": product, "version": number, "images": [asdict(row) for row in rows]}, indent=2))
    else:
        cells = [
            (
                row.image,
                row.verdict,
                "" if row.score is None else f"{row.score:.3f}",
                *([row.overlay or ""] if out else []),
                row.reason,
            )
            for row in rows
            if row.verdict != "skipped"
        ]
        print_table(f"{product}, version {number}", ("image", "verdict", "score", *(["overlay"] if out else []), "remark"), cells)
        skipped = [f"{row.image} ({row.reason})" for row in rows if row.verdict == "skipped"]
        if skipped:
            more = f", and {len(skipped) - 5} more (--json lists them)" if len(skipped) > 5 else ""
            typer.echo(f"skipped {len(skipped)}: {', '.join(skipped[:5])}{more}", err=True)
        missed = f"{count[NOT_JUDGED]} not judged, " if count[NOT_JUDGED] else ""
        typer.echo(f"{count['pass']} pass, {count['reject']} reject, {missed}{count['error']} could not be inspected", err=True)
    if count["error"]:
        raise typer.Exit(1)
