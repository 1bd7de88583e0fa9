"""``changeover backup`` and ``restore``."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import PlantOption, the_plant


def backup(
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="A new folder, on another disk.")],
    plant: PlantOption = None,
) -> None:
    """Back the plant up into one folder, also while it works. The backup holds the plant's secrets: keep it like them."""
    from flows.terminal import answer, waiting
    from flows.upkeep.backup import backup as back_up

    place = the_plant(plant)
    with waiting("backing up") as log:
        made = back_up(place, target, log)
    events = made.backup.head.partition(":")[0] or "no"
    answer(f"backup of {place.path} in {made.target}: {made.files} files, {made.size / 1e6:.1f} MB, {events} events of the trail")
    answer("it holds the plant's keys and passwords; keep it where only those come who may have them")
    for name, value in made.backup.elsewhere.items():
        answer(f"not in it: {name} {value}")


def restore(
    source: Annotated[Path, typer.Argument(metavar="BACKUP", help="What 'changeover backup' made.")],
    target: Annotated[Path, typer.Argument(metavar="PLANT", help="A new folder.")],
    mlflow_port: Annotated[int | None, typer.Option("--mlflow-port", metavar="N", help="Another port for MLflow.")] = None,
    prefect_port: Annotated[int | None, typer.Option("--prefect-port", metavar="N", help="Another port for Prefect.")] = None,
    database: Annotated[
        str | None,
        typer.Option(
            "--database", metavar="URL", help="An empty PostgreSQL database, where the plant had one; no password in it."
        ),
    ] = None,
) -> None:
    """Make a plant from its backup, at any place. It is a copy until 'changeover adopt'."""
    from flows.terminal import answer, waiting
    from flows.upkeep.restore import Changed
    from flows.upkeep.restore import restore as bring_back

    with waiting("restoring") as log:
        path, found = bring_back(source, target, Changed(mlflow_port, prefect_port, database), log)
    answer(f"{path} is the plant that {found.plant['path']} was at {found.made}, with all its keys and passwords")
    for name, value in found.elsewhere.items():
        answer(f"it still names {name} {value}")
    answer(f"it is a copy, and starts nothing, until it is adopted; next: cd {path} && changeover adopt && changeover up")
