"""``changeover audit``."""

import csv
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.options import JsonOption, PlantOption, ProductOption, the_plant

if TYPE_CHECKING:
    from registry.trail.events import Event

app = typer.Typer(help="Who did what when, and the proof that nobody changed the record of it.", no_args_is_help=True)

COLUMNS = (
    "seq", "time", "actor", "action", "product", "version", "digest", "subject", "before", "after", "address", "allowed",
    "reason", "previous", "hash",
)  # fmt: skip


@app.callback()
def audit() -> None:
    """Who did what when, and the proof that nobody changed the record of it."""


@app.command("list")
def list_events(
    product: Annotated[str | None, typer.Option("--product", "-p", metavar="NAME", help="Of this product.")] = None,
    version: Annotated[int | None, typer.Option("--version", metavar="N", help="Of this version.")] = None,
    actor: Annotated[str | None, typer.Option("--actor", metavar="NAME", help="By this person or service.")] = None,
    action: Annotated[str | None, typer.Option("--action", metavar="NAME", help="Such as tag.set, alias.set, register.")] = None,
    refused: Annotated[bool, typer.Option("--refused", help="What was refused.")] = False,
    since: Annotated[str | None, typer.Option("--since", metavar="DATE", help="From 2026-11-21 or 2026-11-21T06:00 on.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV with every column.")] = False,
    as_json: JsonOption = False,
    plant: PlantOption = None,
) -> None:
    """List the events of the audit trail, also while the server is down."""
    from core.errors import BadSettings
    from flows.records.spreadsheet import cell
    from flows.records.trail import database
    from flows.terminal import print_table
    from registry.trail.audit import read_events

    if as_csv and as_json:
        raise BadSettings("--csv and --json together; give one of them")
    begin = _moment(since)
    wanted = {"version": None if version is None else str(version), "actor": actor, "action": action}
    events = [
        one
        for one in read_events(database(the_plant(plant)), product)
        if all(value in (None, getattr(one, name)) for name, value in wanted.items())
        and not (refused and one.allowed)
        and (begin is None or one.time >= begin)
    ]
    if as_json:
        print(json.dumps({"events": [one.model_dump(mode="json") for one in events]}, indent=2))
    elif as_csv:
        lines = csv.writer(sys.stdout, lineterminator="\n")
        lines.writerow(COLUMNS)
        for one in events:
            found = one.model_dump(mode="json")
            lines.writerow([cell(found[name]) for name in COLUMNS])
    else:
        columns = ("event", "time", "who", "action", "product", "version", "what", "", "reason")
        print_table("Audit trail", columns, [_row(one) for one in events])


@app.command("verify")
def verify(
    head: Annotated[str | None, typer.Option("--head", metavar="N:HASH", help="A head that you kept, too.")] = None,
    plant: PlantOption = None,
) -> None:
    """Prove that no event was edited, removed, inserted, reordered or cut off. Exit code 1 and one line a problem otherwise."""
    from flows.records.trail import database, kept_heads, key_file
    from flows.terminal import answer
    from registry.trail import audit

    place = the_plant(plant)
    kept = kept_heads(place)  # before the trail, which may grow meanwhile
    source = database(place)
    problems = [*audit.verify(source, *kept.heads, *([head] if head else []), key=key_file(place)), *kept.problems]
    for problem in problems:
        answer(problem)
    if problems:
        raise typer.Exit(1)
    now = audit.head(source)
    checked = len(kept.heads) + (head is not None)
    answer(f"the trail holds: {now.partition(':')[0]} events, each in its place and as it was written; head {now}")
    answer(f"{checked} heads that were kept agree" if checked else "no head was kept yet, so a cut-off end would not show")


@app.command("head")
def show_head(plant: PlantOption = None) -> None:
    """Print the head of the trail, to be kept elsewhere and given to 'audit verify --head'."""
    from flows.records.trail import database
    from flows.terminal import answer
    from registry.trail.audit import head

    answer(head(database(the_plant(plant))))


@app.command("certificate")
def certificate(
    product: ProductOption,
    version: Annotated[int, typer.Option("--version", metavar="N", help="The version to certify.")],
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="An .html or .pdf file.")] = None,
    plant: PlantOption = None,
) -> None:
    """Write a certificate of one version for print: what it was made of, who signed it, every event, and the proof."""
    from flows.commands.options import known_product
    from flows.records.certificate import write_certificate
    from flows.terminal import answer, waiting

    place = the_plant(plant)
    known_product(place, product)
    target = out or Path(f"{product}-{version}.html")
    with waiting("writing the certificate"):
        holds = write_certificate(place, product, version, target)
    answer(f"certificate of {product} version {version} written to {target}")
    if not holds:
        answer("the trail or the sign-off does not hold, and the certificate says so; run 'changeover audit verify'")
        raise typer.Exit(1)


def _moment(text: str | None) -> datetime | None:
    from core.errors import BadSettings

    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone()  # without a zone: local time
    except ValueError as error:
        raise BadSettings(f"--since {text!r} is no date; give it as 2026-11-21 or 2026-11-21T06:00") from error


def _row(event: "Event") -> tuple[str, ...]:
    change = f"{event.before} → {event.after}" if event.before else event.after
    what = f"{event.subject}: {change}" if event.subject and change else event.subject or change
    verdict = "" if event.allowed else "refused"
    when = event.time.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return (str(event.seq), when, event.actor, event.action, event.product, event.version, what, verdict, event.reason)
