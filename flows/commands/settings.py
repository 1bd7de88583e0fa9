"""``changeover settings``."""

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from flows.commands.options import JsonOption, PlantOption, the_plant


def settings(
    product: Annotated[
        str | None, typer.Option("--product", "-p", metavar="NAME", help="Those of this product's runs, with its product.yaml.")
    ] = None,
    plant: PlantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show every setting, its value, and where that comes from: a default, the preset, changeover.yaml or product.yaml."""
    from flows.settings import every_setting, order_of
    from flows.terminal import print_table

    place = the_plant(plant)
    found = every_setting(place, product, order_of(place, product))
    if as_json:
        print(json.dumps([asdict(one) for one in found], indent=2, default=str))
        return
    rows = [(one.name, _text(one.value), one.origin) for one in found]
    print_table(f"Settings of {product or 'the plant'}", ("setting", "value", "from"), rows)


def _text(value: Any) -> str:
    """A value as YAML has it."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "[]"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return str(value)
