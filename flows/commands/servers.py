"""``changeover up``, ``down`` and ``status``."""

import json

import typer

from flows.commands.options import JsonOption, PlantOption, the_plant


def up(plant: PlantOption = None) -> None:
    """Start the MLflow and the Prefect server in the background, and wait until both answer."""
    from flows.serving.servers import up as start
    from flows.teachers.teacher import have_packaged
    from flows.terminal import answer, waiting
    from flows.upkeep.adopt import record_adoption

    place = the_plant(plant)
    with waiting("starting the servers") as log:
        servers = start(place, log)
        record_adoption(place, log)
        have_packaged(place, log)
    for server in servers.values():
        answer(f"{server.name} is up at {server.url}")


def down(plant: PlantOption = None) -> None:
    """Stop the servers that 'changeover up' started; everything on record stays."""
    from flows.serving.servers import down as stop
    from flows.terminal import answer, waiting

    place = the_plant(plant)
    with waiting("stopping the servers") as log:
        ended = stop(place, log)
    answer(f"stopped {' and '.join(ended)}" if ended else "no server was running")


def status(plant: PlantOption = None, as_json: JsonOption = False) -> None:
    """Show the servers, what runs now, and every product with what waits for a signature."""
    from flows.terminal import answer, print_table
    from flows.upkeep.status import read_status

    found = read_status(the_plant(plant))
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=2))
        return
    print_table("Servers", ("server", "state", "address"), found.server_rows())
    if found.runs:
        print_table("At work", ("product", "batch", "step"), found.run_rows())
    if found.products:
        columns = ("product", "champion", "on the line", "candidate", "sign-off", "sign at")
        print_table("Products", columns, found.product_rows())
    answer(found.serve_line())
    if found.teacher:
        answer(found.teacher)
    for line in found.hints():
        answer(line)
