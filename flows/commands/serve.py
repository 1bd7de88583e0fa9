"""``changeover serve``."""

from flows.commands.options import PlantOption, the_plant


def serve(plant: PlantOption = None) -> None:
    """Carry out scheduled changeovers, changeovers on an event, and promotions, until Ctrl-C."""
    from flows.serve import serve as work
    from flows.terminal import log

    work(the_plant(plant), log)
