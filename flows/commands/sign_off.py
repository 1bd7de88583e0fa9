"""``changeover sign-off``."""

import os
from typing import Annotated

import typer

from flows.commands.options import PlantOption, ProductOption, known_product, the_plant
from registry.printable import printable


def sign_off(
    product: ProductOption,
    version: Annotated[int, typer.Option("--version", metavar="N", help="The version to decide on.")],
    user: Annotated[
        str, typer.Option("--user", metavar="NAME", help="Who signs; the password is CHANGEOVER_PASSWORD or asked for.")
    ],
    approve: Annotated[bool, typer.Option("--approve", help="Approve it.")] = False,
    reject: Annotated[bool, typer.Option("--reject", help="Reject it, which is final.")] = False,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take an approval back.")] = False,
    waive: Annotated[bool, typer.Option("--waive", help="Waive failed gates; another person approves then.")] = False,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept with the version.")] = "",
    meaning: Annotated[
        str, typer.Option("--meaning", metavar="WORD", help="What the signature means: reviewed, approved or responsible.")
    ] = "approved",
    plant: PlantOption = None,
) -> None:
    """Approve or reject a version, withdraw an approval, or waive failed gates; the server judges who may."""
    from core.errors import BadSettings
    from flows.serving.services import connect_as_person
    from flows.terminal import answer
    from registry.client.sign_off import sign_off as sign

    place = the_plant(plant)
    known_product(place, product)
    wanted = {"approved": approve, "rejected": reject, "pending": withdraw, "waived": waive}
    decisions = [name for name, given in wanted.items() if given]
    if len(decisions) != 1:
        problem = "without a decision" if not decisions else "with more than one decision"
        raise BadSettings(f"sign-off {problem}; give one of --approve, --reject, --withdraw and --waive")
    if not reason.strip():
        raise BadSettings("sign-off without a reason; say why with --reason TEXT")
    password = os.environ.get("CHANGEOVER_PASSWORD") or typer.prompt(printable(f"password of {user}"), hide_input=True, err=True)
    signed = sign(connect_as_person(place, user, password), product, version, decisions[0], reason, meaning)
    name = f"version {signed.version} of {product}"
    if waive:
        answer(f"the gates of {name} are waived by {user}: {reason}; now another person of quality assurance may approve it")
    elif withdraw:
        answer(f"the approval of {name} is withdrawn by {signed.by} at {signed.at}: {reason}")
    else:
        answer(f"{name} is {signed.decision} by {signed.name} ({signed.by}) at {signed.at}, {signed.meaning}: {signed.reason}")
    if signed.valid:
        answer(f"next: changeover promote --product {product}")
