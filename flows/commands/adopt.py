"""``changeover adopt``."""

from typing import Annotated

import typer

from flows.commands.options import PlantOption, the_plant


def adopt(
    original_is_gone: Annotated[
        bool,
        typer.Option("--original-is-gone", help="The plant that this was copied from will never run again."),
    ] = False,
    plant: PlantOption = None,
) -> None:
    """Make a copy of a plant, or a restored one, a plant of its own. Until then it starts, promotes and publishes nothing.

    It gets an identity of its own, and its audit trail says from which plant it parted. It keeps the keys and passwords of the
    original: what it publishes is signed with the same key, and lines believe it. So where the original goes on, never let both
    publish for the same line.
    """
    from flows.terminal import answer
    from flows.upkeep.adopt import adopt as do

    place = the_plant(plant)
    done = do(place, original_is_gone)
    if done is None:
        answer(f"{place.path} is no copy; nothing was changed")
        return
    answer(f"{place.path} is a plant of its own from now on; next: changeover up, which tells the audit trail")
    answer("it has the keys and passwords of the original: where that goes on, let them never publish for the same line")
    for remark in done.remarks:
        answer(remark)
