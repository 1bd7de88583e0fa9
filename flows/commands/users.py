"""``changeover users``."""

import os
from typing import Annotated

import typer

from flows.commands.options import PlantOption, the_plant
from registry.printable import printable

app = typer.Typer(help="People who may look, sign or administer.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="As the person logs in, such as eva.huber.")]


@app.callback()
def users() -> None:
    """People who may look, sign or administer."""


@app.command("add")
def add(
    name: NameArgument,
    role: Annotated[str, typer.Option("--role", help="qa signs, viewer looks, admin administers.")],
    full_name: Annotated[str, typer.Option("--name", metavar="TEXT", help="Full name, as signatures show it.")] = "",
    plant: PlantOption = None,
) -> None:
    """Add a person to the registry. The password is CHANGEOVER_PASSWORD, or made up; it is shown once and kept nowhere.

    Who signs changes it first: 'changeover users password NAME', or the page /changeover/password.
    """
    from flows.serving.services import connect_as
    from flows.terminal import answer
    from registry.client.users import add_user

    connection = connect_as(the_plant(plant), "admin")
    given = os.environ.get("CHANGEOVER_PASSWORD")
    user = add_user(connection, name, given, role, full_name)
    answer(f"added {user.name} with role {user.role}; they log in at {connection.url}")
    if given is None:
        answer(f"password {user.password}")
    if user.role == "qa":
        answer(f"next, before signing: changeover users password {user.name}")


@app.command("password")
def password(name: NameArgument, plant: PlantOption = None) -> None:
    """Change one's own password. CHANGEOVER_PASSWORD is the present one, CHANGEOVER_NEW_PASSWORD the new; else both are asked."""
    from flows.serving.services import connect_as_person
    from flows.terminal import answer
    from registry.client.users import change_password

    place = the_plant(plant)
    now = os.environ.get("CHANGEOVER_PASSWORD") or _prompt(f"present password of {name}")
    fresh = os.environ.get("CHANGEOVER_NEW_PASSWORD") or _prompt("new password", again=True)
    change_password(connect_as_person(place, name, now), fresh)
    answer(f"the password of {name} is changed")


@app.command("name")
def give_name(
    name: NameArgument,
    full_name: Annotated[str, typer.Argument(metavar="TEXT", help="Full name, as signatures show it.")],
    plant: PlantOption = None,
) -> None:
    """Enter the full name of a person; every later signature shows it."""
    from flows.serving.services import connect_as
    from flows.terminal import answer
    from registry.client.users import give_name as give

    give(connect_as(the_plant(plant), "admin"), name, full_name)
    answer(f"{name} is {full_name}")


@app.command("list")
def list_users(plant: PlantOption = None) -> None:
    """List who may do what."""
    from flows.serving.services import connect_as
    from flows.terminal import print_table
    from registry.client.users import list_users as listed

    rows = [(one.name, one.full_name, ", ".join(one.roles)) for one in listed(connect_as(the_plant(plant), "admin"))]
    print_table("Users", ("user", "name", "roles"), rows)


def _prompt(what: str, *, again: bool = False) -> str:
    return str(typer.prompt(printable(what), hide_input=True, err=True, confirmation_prompt=again))
