"""``changeover doctor``."""

import json

import typer

from flows.commands.options import JsonOption, PlantOption


def doctor(plant: PlantOption = None, as_json: JsonOption = False) -> None:
    """Check versions, processor, disk, servers and storage, and say what to do about what is wrong."""
    from flows.terminal import print_table, waiting
    from flows.upkeep.doctor import examine

    with waiting("examining"):
        findings = examine(plant)
    if as_json:
        print(json.dumps([finding.__dict__ for finding in findings], indent=2))
    else:
        print_table("Doctor", ("state", "what", "found", "what to do"), [(f.state, f.what, f.found, f.fix) for f in findings])
    if any(finding.state == "error" for finding in findings):
        raise typer.Exit(1)
