"""``changeover roll-back`` and ``changeover confirm``."""

import os
from typing import Annotated

import typer

from flows.commands.options import PlantOption, ProductOption, known_product, the_plant
from registry.printable import printable

UserOption = Annotated[
    str | None,
    typer.Option(
        "--user", metavar="NAME", help="A person of quality assurance; the password is CHANGEOVER_PASSWORD or asked for."
    ),
]
ReasonOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept in the audit trail.")]


def roll_back(
    product: ProductOption,
    reason: ReasonOption,
    user: UserOption = None,
    emergency: Annotated[
        bool, typer.Option("--emergency", help="Without a person of quality assurance; flagged until one confirms.")
    ] = False,
    plant: PlantOption = None,
) -> None:
    """Go back to the version before the champion, and publish it."""
    from core.errors import BadSettings
    from flows.records.trail import keep_head
    from flows.serving.services import connect_as_person
    from flows.steps.promote import roll_back as do
    from flows.terminal import answer, waiting

    place = the_plant(plant)
    known_product(place, product)
    if (user is None) != emergency:
        raise BadSettings("roll-back takes either --user NAME of quality assurance, or --emergency; give one of them")
    person = None if user is None else connect_as_person(place, user, _password(user))
    with waiting(f"rolling {product} back"):
        done = do(place, product, reason, person)
        keep_head(place)
    answer(f"version {done.version} of {product} is the champion again, published to {done.folder}")
    if emergency:
        answer("flagged until quality assurance confirms: 'changeover status' shows the event, 'changeover confirm' confirms it")


def confirm(
    event: Annotated[int, typer.Argument(metavar="EVENT", min=1, help="Number of the flagged event, as status shows it.")],
    reason: ReasonOption,
    user: Annotated[str, typer.Option("--user", metavar="NAME", help="A person of quality assurance.")],
    plant: PlantOption = None,
) -> None:
    """Confirm as quality assurance that a flag (emergency roll-back, alias moved past the gate) has been looked at."""
    from flows.serving.services import connect_as_person
    from flows.terminal import answer
    from registry.client.flags import confirm as do

    do(connect_as_person(the_plant(plant), user, _password(user)), event, reason)
    answer(f"event {event} is confirmed by {user}")


def _password(user: str) -> str:
    return os.environ.get("CHANGEOVER_PASSWORD") or str(typer.prompt(printable(f"password of {user}"), hide_input=True, err=True))
