"""The region of interest of one product: what is inspected, where that is set, and setting it in ``product.yaml``."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from core.errors import BadSettings
from flows.errors import PlantError
from flows.newest_batch import newest_batch
from flows.plant import Plant
from flows.product_setting import changed, write_setting
from flows.settings import PRODUCT_FILE, Layer, layers, merged, order_of, product_file
from models.inspection.region import Polygon, Region
from models.settings import EvaluateSettings, RegionOfInterest

KEY = "region"


@dataclass(frozen=True)
class ProductRegion:
    """The region that the next run of a product uses. ``origins``: the files that set it; none for the default."""

    region: Region
    origins: tuple[str, ...]
    overkill: float
    """The overkill target of that run."""


def region_of(plant: Plant, product: str) -> ProductRegion:
    """What holds now. PlantError or BadSettings where the settings do not."""
    return _of_layers(plant, product, layers(plant, product, order_of(plant, product)))


def _of_layers(plant: Plant, product: str, found: list[Layer]) -> ProductRegion:
    settings = EvaluateSettings.model_validate(merged(found, order_of(plant, product).seconds).get("evaluate") or {})
    origins = tuple(layer.place for layer in found if (layer.sections.get("evaluate") or {}).get(KEY))
    return ProductRegion(settings.region.as_region(), origins, settings.overkill_target)


def set_region(plant: Plant, product: str, look: Sequence[Polygon], ignore: Sequence[Polygon], clear: bool) -> ProductRegion:
    """Write ``look`` and ``ignore`` into the product's file, in place of what stands there; an empty one leaves what is there,
    unless ``clear`` takes everything out first. Returns what then holds.

    BadSettings or PlantError, and nothing is written, where that contradicts what else is set.
    """
    source = plant.path / "products" / product / PRODUCT_FILE
    there = product_file(plant, product)
    if KEY in there.evaluate.model_fields_set:
        raise PlantError(f"{source} has {KEY} under evaluate; move it to the left margin, then run again")
    before = {} if clear else there.region.model_dump(mode="json", exclude_unset=True)
    rectangle = sorted(before.keys() - {"look", "ignore"})
    if look and rectangle:
        raise BadSettings(
            f"{source} has a rectangle ({', '.join(rectangle)}), which says what is inspected as --look does; give --clear, too, "
            "to replace it"
        )
    given = {"look": look, "ignore": ignore}
    values = before | {name: json.loads(json.dumps(polygons)) for name, polygons in given.items() if polygons}
    try:
        RegionOfInterest.model_validate(values)
    except ValidationError as error:
        raise BadSettings(error.errors()[0]["msg"].removeprefix("Value error, ")) from error
    value, lines = values or None, _lines(values)
    sections = changed(source, KEY, value, lines).sections()
    others = layers(plant, product, order_of(plant, product))[:-1]
    found = _of_layers(plant, product, [*others, Layer(f"products/{product}/{PRODUCT_FILE}", sections)])
    write_setting(source, KEY, value, lines)
    return found


def _lines(values: dict[str, Any]) -> list[str]:
    """The setting as YAML, a polygon a line."""
    found = [f"{KEY}:"] if values else []
    for name, value in values.items():
        if isinstance(value, list):
            found += [f"  {name}:", *(f"    - {json.dumps(polygon)}" for polygon in value)] if value else [f"  {name}: []"]
        else:
            found.append(f"  {name}: {value!r}")
    return found


def image_size(plant: Plant, product: str) -> tuple[int, int]:
    """Width and height of the images of the newest batch. BadSettings where there is none, or they are not of one size."""
    batch = newest_batch(plant, product)
    if batch is None:
        raise BadSettings(f"{product} has no batch yet, so that px say nothing; give fractions of width and height, such as 0.25")
    sizes = sorted({(image.width, image.height) for image in batch.read_record().images})
    if len(sizes) != 1:
        shown = ", ".join(f"{width} x {height}" for width, height in sizes[:4]) + (" …" if len(sizes) > 4 else "")
        raise BadSettings(
            f"images of {product} {batch.path.name} are of {len(sizes)} sizes ({shown}), so that px say nothing; give fractions "
            "of width and height, such as 0.25"
        )
    return sizes[0]
