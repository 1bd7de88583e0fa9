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
    approve: Annotated[bool | None, typer.Option("--approve/--reject", help="The decision.")] = None,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept with the version.")] = "",
    plant: PlantOption = None,
) -> None:
    """Approve or reject a version, as can be done on its page in MLflow; the server judges who may."""
    from data.errors import BadSettings
    from flows.services import connect_as_person
    from flows.terminal import answer
    from registry.sign_off import sign_off as sign

    place = the_plant(plant)
    known_product(place, product)
    if approve is None:
        raise BadSettings("sign-off without a decision; give --approve or --reject")
    if not reason.strip():
        raise BadSettings("sign-off without a reason; say why with --reason TEXT")
    password = os.environ.get("CHANGEOVER_PASSWORD") or typer.prompt(printable(f"password of {user}"), hide_input=True, err=True)
    signed = sign(connect_as_person(place, user, password), product, version, "approved" if approve else "rejected", reason)
    answer(f"version {signed.version} of {product} is {signed.decision} by {signed.by} at {signed.at}: {signed.reason}")
    if signed.valid:
        answer(f"next: changeover promote --product {product}")
