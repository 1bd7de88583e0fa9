"""``changeover run``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.options import JsonOption, PlantOption, ProductOption, RequesterOption, password_of, the_plant

if TYPE_CHECKING:
    from flows.outcome import Outcome
    from flows.steps.job import Job


def run(
    product: ProductOption,
    batch: Annotated[str, typer.Option("--batch", "-b", metavar="NAME", help="The batch, such as 2026-11-21-a.")],
    images: Annotated[Path | None, typer.Option("--images", "-i", metavar="FOLDER", help="Folder of good images.")] = None,
    preset: Annotated[str | None, typer.Option("--preset", help="quick, standard or thorough.")] = None,
    budget: Annotated[str | None, typer.Option("--budget", help="Time for tuning and training: 90s, 8m, 1.5h.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="The same seed on the same machine gives the same model.")] = 1,
    warm_start: Annotated[
        str | None,
        typer.Option("--warm-start", metavar="same|PRODUCT", help="Start from the champion of this or another product."),
    ] = None,
    user: RequesterOption = None,
    plant: PlantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a candidate from a folder of good images. Run again after any interruption, it goes on where it was."""
    outcome = run_changeover(plant, product, batch, images, preset, budget, seed, warm_start, user)
    if as_json:
        print(json.dumps(outcome.as_dict(), indent=2))
    else:
        print_outcome(outcome)


def run_changeover(
    plant: Path | None,
    product: str,
    batch: str,
    images: Path | None,
    preset: str | None,
    budget: str | None = None,
    seed: int = 1,
    warm_start: str | None = None,
    user: str | None = None,
) -> "Outcome":
    """Check the order, then run the flow in this process and show its progress."""
    from flows.steps.job import make_job

    folder = str(images.expanduser().absolute()) if images else None
    return run_job(make_job(the_plant(plant), product, batch, folder, preset, budget, seed, warm_start), user)


def run_job(job: "Job", user: str | None) -> "Outcome":
    """Run the flow for ``job`` in this process and show its progress."""
    from flows.progress_view import shown
    from flows.requester import Requester, ask_as_person, requested_by
    from flows.serving.orchestration import connect, ends_with_prefect
    from flows.serving.servers import address
    from flows.serving.services import connect_as_person

    place, order = job.plant, job.order
    address(place, "mlflow")
    requester = Requester(requested_by())
    if user:
        requester = ask_as_person(connect_as_person(place, user, password_of(user)), job.product, job.batch)
    connect(place)
    with shown(place, job.folder), ends_with_prefect(place):
        from flows.changeover import changeover

        budget = None if order.budget is None else f"{order.budget:.10g}s"
        spent = (str(job.images), order.preset, budget, order.seed, order.warm_start)
        return changeover(str(place.path), job.product, job.batch, *spent, *requester.as_parameters())


def print_outcome(outcome: "Outcome") -> None:
    """The outcome for people: what it is, where to look, what comes next."""
    from flows.progress_view import time_text
    from flows.terminal import answer

    spent = time_text(outcome.seconds)
    if outcome.status == "kept":
        answer(f"{outcome.product} {outcome.batch}: champion {outcome.version} is kept after {spent}: {outcome.reason}")
        return
    answer(
        f"{outcome.product} {outcome.batch}: version {outcome.version} is a {outcome.status} after {spent}: {outcome.reason}"
        if outcome.status == "candidate"
        else f"{outcome.product} {outcome.batch}: version {outcome.version} failed its gates after {spent}: {outcome.reason}"
    )
    answer(f"report   {outcome.report}")
    answer(f"sign at  {outcome.url}" if outcome.status == "candidate" else f"version  {outcome.url}")
