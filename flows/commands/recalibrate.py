"""``changeover recalibrate``."""

import json
from typing import Annotated

import typer

from flows.commands.options import JsonOption, PlantOption, RequesterOption, known_product, the_plant
from flows.commands.run import print_outcome, run_job


def recalibrate(
    product: Annotated[str, typer.Argument(metavar="PRODUCT", help="The product, such as bolt-m6.")],
    version: Annotated[int, typer.Argument(metavar="VERSION", help="The version that is to have another threshold.")],
    overkill: Annotated[str, typer.Option("--overkill", metavar="SHARE", help="Good parts that may be rejected: 5% or 0.05.")],
    user: RequesterOption = None,
    plant: PlantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a version another threshold, and the region that its product has by now: a new version to sign, from the same
    training, with a report of its own."""
    from flows.serving.services import connect_as
    from flows.steps.recalibrate import parse_share, recalibration, region_changed, same_threshold
    from flows.terminal import answer, log
    from registry.client.versions import version_of

    share = parse_share(overkill)
    place = the_plant(plant)
    known_product(place, product)
    found = version_of(connect_as(place, "trainer"), product, str(version))
    job = recalibration(place, found, share)
    if region_changed(place, found):
        log(
            f"the region of {product} has changed since version {found.version}; it is used, too (see 'changeover roi {product}')"
        )
    outcome = run_job(job, user)
    if as_json:
        print(json.dumps(outcome.as_dict(), indent=2))
    elif outcome.version == found.version:
        answer(same_threshold(found, share))
    else:
        print_outcome(outcome)
