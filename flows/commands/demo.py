"""``changeover demo``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from flows.demo import Demo
    from flows.outcome import Outcome


def demo(folder: Annotated[Path, typer.Option("--folder", help="Where the demo's plant is made.")] = Path("demo-plant")) -> None:
    """See it work: a plant, a sample product and a candidate to sign, in a few minutes."""
    from flows.commands.run import run_changeover
    from flows.demo import demo as show
    from flows.terminal import log

    _print(show(folder, lambda plant, product, batch, images: run_changeover(plant, product, batch, images, "quick"), log))


def _print(made: "Demo") -> None:
    from flows.commands.run import print_outcome
    from flows.progress_view import time_text
    from flows.terminal import answer

    answer()
    print_outcome(made.outcome)
    answer(f"user     {made.user}")
    answer(f"password {made.password}")
    answer()
    answer(f"The demo took {time_text(made.seconds)}. The servers stay up until 'changeover down'.")
    answer(_next(made.outcome))
    answer()
    for line in _commands(made):
        answer(f"  {line}")


def _next(outcome: "Outcome") -> str:
    if outcome.status == "candidate":
        return "Now be QA: look at the report, then sign in the browser, or here:"
    return "The quick model did not pass, as happens on a busy machine. A longer budget, and how to look and stop:"


def _commands(made: "Demo") -> list[str]:
    from flows.demo import BATCH, PRODUCT

    go = f"cd {made.plant.path}"
    if made.outcome.status != "candidate":
        images = f"--images {made.delivery}"
        return [
            go,
            f"changeover run --product {PRODUCT} --batch {BATCH} {images} --preset standard",
            "changeover status",
            "changeover down",
        ]
    return [
        go,
        f"CHANGEOVER_PASSWORD={made.password} changeover sign-off --product {PRODUCT} --version {made.outcome.version} "
        f'--approve --reason "looks right" --user {made.user}',
        f"changeover promote --product {PRODUCT}",
        f"changeover inspect {made.sample / 'defect'} --product {PRODUCT} --out overlays",
        "changeover status",
        "changeover down",
    ]
