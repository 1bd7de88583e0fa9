"""``changeover serve``: one process that carries out what the schedule, an event or a signature asks for."""

import os
from collections.abc import Callable
from typing import Any

from flows.cron_line import EXAMPLE, check_cron, local_zone
from flows.errors import PlantError
from flows.plant import Plant
from flows.records.trail import check_head
from flows.request import PAYLOAD, READY
from flows.serving.orchestration import connect
from flows.serving.serve_state import begin_serving
from flows.serving.servers import address
from flows.serving.services import connect_as
from flows.serving.webhook import receive
from registry.client.flags import put_back_aliases

PROMOTION_SECONDS = 60.0


def deployments(plant: Plant) -> list[Any]:
    """The Prefect deployments of a plant: a changeover on each product's cron line, one on an event, promotion, and the training
    of the plant's teacher.

    Needs ``orchestration.connect`` before. PlantError if a cron line does not parse.
    """
    from prefect.events import DeploymentEventTrigger
    from prefect.types.entrypoint import EntrypointType

    from flows.changeover import changeover
    from flows.promotion import promotion
    from flows.teacher_training import train_teacher

    place = {"plant": str(plant.path)}
    module = EntrypointType.MODULE_PATH
    made = []
    for name, product in plant.config.products.items():
        if product.cron:
            made.append(
                changeover.to_deployment(
                    name=name,
                    schedule=_schedule(f"product {name!r}", product.cron),
                    parameters=place | {"product": name},
                    description=f"A changeover of {name} with the images in {product.images}",
                    entrypoint_type=module,
                )
            )
    payload = {key: f"{{{{ event.payload.{key} }}}}" for key in PAYLOAD}
    trigger = DeploymentEventTrigger(enabled=True, expect={READY}, parameters=place | payload)
    made.append(
        changeover.to_deployment(
            name="on-event",
            # Without parameters of its own a run started by hand in Prefect's pages asks for them.
            parameters=place,
            triggers=[trigger],
            description=f"A changeover for each event {READY}",
            entrypoint_type=module,
        )
    )
    made.append(
        promotion.to_deployment(
            name="every-minute",
            interval=PROMOTION_SECONDS,
            parameters=place,
            description="Promotes and publishes what QA has approved",
            entrypoint_type=module,
        )
    )
    teachers = plant.config.teachers
    if teachers.cron:
        made.append(
            train_teacher.to_deployment(
                name="scheduled",
                schedule=_schedule("teachers", teachers.cron),
                parameters=place,
                description=f"Trains teacher {teachers.name} on the good images of all products",
                entrypoint_type=module,
            )
        )
    return made


def serve(plant: Plant, log: Callable[[str], None]) -> None:
    """Register the deployments and carry out their runs until interrupted. ServerError if a server is not up, Broken where a
    witness of the audit trail contradicts it."""
    for silent in check_head(plant):
        log(f"a witness of the audit trail could not be asked: {silent}")
    address(plant, "mlflow")
    url = connect(plant)
    os.chdir(plant.path)  # runs are started here, wherever the command was typed
    since = begin_serving()

    import prefect

    from flows.serving.janitor import clean_up

    clean_up(plant)
    # At once, and not with the first run in a minute: from here on the registry knows that somebody serves.
    for event in put_back_aliases(connect_as(plant, "promoter"), since=since):
        log(f"{event.product}: {event.reason}")
    from flows.promotion import promotion

    receive(plant, lambda: promotion(str(plant.path)), log)
    made = deployments(plant)
    for deployment in made:
        log(f"serving {deployment.flow_name}/{deployment.name}: {deployment.description}")
    log(f"runs and schedules: {url}; stop with Ctrl-C")
    prefect.serve(*made, print_starting_message=False, limit=4)


def _schedule(owner: str, cron: str) -> Any:
    from prefect.schedules import Cron
    from pydantic import ValidationError

    try:
        return Cron(check_cron(cron), timezone=local_zone())
    except (ValueError, ValidationError) as error:
        raise PlantError(f"cron line {cron!r} of {owner} does not parse; {EXAMPLE}") from error
