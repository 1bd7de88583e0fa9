"""``changeover history``."""

import json
from dataclasses import asdict

from flows.commands.options import JsonOption, PlantOption, ProductOption, known_product, the_plant


def history(product: ProductOption, plant: PlantOption = None, as_json: JsonOption = False) -> None:
    """Show every version of a product: its batch, its gates, who signed it and why."""
    from flows.serving.services import connect_as
    from flows.terminal import print_table, waiting
    from registry.client.history import history as read

    place = the_plant(plant)
    known_product(place, product)
    with waiting("asking the registry"):
        lines = read(connect_as(place, "trainer"), product)
    if as_json:
        print(json.dumps([asdict(line) for line in lines], indent=2, default=str))
        return
    rows = [
        (
            line.version, line.batch, line.created.astimezone().strftime("%Y-%m-%d %H:%M"), line.gates, line.qa, line.by,
            line.reason, " ".join(line.aliases), line.digest[:8],
        )
        for line in lines
    ]  # fmt: skip
    print_table(product, ("version", "batch", "registered", "gates", "sign-off", "by", "reason", "alias", "digest"), rows)
