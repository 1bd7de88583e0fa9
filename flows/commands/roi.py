"""``changeover roi``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import JsonOption, PlantOption, known_product, the_plant

_POINTS = "POINTS"


def roi(
    product: Annotated[str, typer.Argument(metavar="PRODUCT", help="The product, such as bolt-m6.")],
    look: Annotated[
        list[str] | None,
        typer.Option("--look", metavar=_POINTS, help='Inspect this polygon: "0.1,0.1 0.9,0.1 0.9,0.9" or "120px,40px …".'),
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option("--ignore", metavar=_POINTS, help="What lies in this polygon never rejects a part.")
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Take out what product.yaml says, before others are set.")] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write the picture to this PNG file.")] = None,
    plant: PlantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what of a product's images is inspected, with a picture to check; or set it in its product.yaml.

    --look and --ignore may be given several times; each replaces the polygons of its kind.
    """
    from flows.polygon_text import parse_polygon, polygon_text
    from flows.region import image_size, region_of, set_region
    from flows.region_picture import check_place, default_place, draw_region
    from flows.terminal import answer, log, print_table
    from models.report.region_picture import outlines

    place = the_plant(plant)
    known_product(place, product)
    if out:
        check_place(out)
    looked, ignored = (
        [parse_polygon(option, text, lambda: image_size(place, product)) for text in texts or ()]
        for option, texts in (("--look", look), ("--ignore", ignore))
    )
    setting = clear or bool(look or ignore)
    found = set_region(place, product, looked, ignored, clear) if setting else region_of(place, product)
    drawn = draw_region(place, product, found.region, out or default_place(place, product))
    share = found.region.share()
    if as_json:
        picture = None if drawn.path is None else str(drawn.path)
        print(
            json.dumps(
                {"product": product, "set": setting, "region": found.region.as_settings(), "from": found.origins, "share": share,
                 "picture": picture, "image": drawn.on, "remark": drawn.reason}, indent=2,
            )
        )  # fmt: skip
        return
    rows = [(name, polygon_text(polygon)) for name, polygon in outlines(found.region)]
    if rows:
        print_table(f"Region of {product}", ("region", "x,y in shares of width and height"), rows)
    origin = f" (set in {' and '.join(found.origins)})" if found.origins else ""
    answer(f"{product}: {share:.1%} of the image is inspected{origin}")
    answer(f"picture  {drawn.path}, of {drawn.on}" if drawn.path else f"no picture: {drawn.reason}")
    if setting:
        log(
            f"the next 'changeover run' of {product} uses it; a version that is there gets it without training by 'changeover "
            f"recalibrate {product} VERSION --overkill {100 * found.overkill:g}%'"
        )
