"""``changeover users``."""

from typing import Annotated

import typer

from flows.commands.options import PlantOption, the_plant

app = typer.Typer(help="People who may look, sign or administer.", no_args_is_help=True)


@app.callback()
def users() -> None:
    """People who may look, sign or administer."""


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As the person will log in, such as eva.huber.")],
    role: Annotated[str, typer.Option("--role", help="qa signs, viewer looks, admin administers.")],
    plant: PlantOption = None,
) -> None:
    """Add a person to the registry. The password is CHANGEOVER_PASSWORD, or made up; it is shown once and kept nowhere."""
    import os

    from flows.services import connect_as
    from flows.terminal import answer
    from registry.users import add_user

    connection = connect_as(the_plant(plant), "admin")
    given = os.environ.get("CHANGEOVER_PASSWORD")
    user = add_user(connection, name, given, role)
    answer(f"added {user.name} with role {user.role}; they log in at {connection.url}")
    if given is None:
        answer(f"password {user.password}")
