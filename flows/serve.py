"""``changeover serve``: one process that carries out what the schedule, an event or a signature asks for."""

import datetime
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from data.batch import check_name
from flows.asked import Asked
from flows.cron_line import EXAMPLE, check_cron, fires_at, fires_once_on, local_zone
from flows.errors import PlantError, ServerError
from flows.plant import Plant
from flows.records.trail import check_head
from flows.serving.orchestration import connect
from flows.serving.prefect_password import log_in
from flows.serving.serve_state import begin_serving
from flows.serving.servers import address
from flows.serving.services import connect_as
from flows.serving.webhook import receive
from registry.client.flags import put_back_aliases

if TYPE_CHECKING:
    import httpx

READY = "changeover.images.ready"
"""The event that asks for a changeover; its payload is ``ASKED_FOR``."""
ASKED_FOR = ("product", "batch", "images", "requested_by", "request_event")
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
    payload = {key: f"{{{{ event.payload.{key} }}}}" for key in ASKED_FOR}
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


def serve(plant: Plant, say: Callable[[str], None]) -> None:
    """Register the deployments and carry out their runs until interrupted. ServerError if a server is not up, Broken where a
    witness of the audit trail contradicts it."""
    for silent in check_head(plant):
        say(f"a witness of the audit trail could not be asked: {silent}")
    address(plant, "mlflow")
    url = connect(plant)
    os.chdir(plant.path)  # runs are started here, wherever the command was typed
    since = begin_serving()

    import prefect

    from flows.serving.janitor import clean_up

    clean_up(plant)
    # At once, and not with the first run in a minute: from here on the registry knows that somebody serves.
    for event in put_back_aliases(connect_as(plant, "promoter"), since=since):
        say(f"{event.product}: {event.reason}")
    from flows.promotion import promotion

    receive(plant, lambda: promotion(str(plant.path)), say)
    made = deployments(plant)
    for deployment in made:
        say(f"serving {deployment.flow_name}/{deployment.name}: {deployment.description}")
    say(f"runs and schedules: {url}; stop with Ctrl-C")
    prefect.serve(*made, print_starting_message=False, limit=4)


def request(plant: Plant, product: str, batch: str, images: Path, asked: Asked) -> None:
    """Ask a serving process for a changeover by an event. The same request again finds everything done and does nothing."""
    check_name("product", product)
    check_name("batch", batch)
    images = images.expanduser().resolve()
    if not images.is_dir():
        raise PlantError(
            f"{images} is not a folder; name the folder of good images that the serving machine sees under that path"
        )
    payload = dict(zip(ASKED_FOR, (product, batch, str(images), *asked.as_parameters()), strict=True))
    event = {
        "id": str(uuid.uuid4()),
        "event": READY,
        "occurred": datetime.datetime.now(datetime.UTC).isoformat(),
        "resource": {"prefect.resource.id": f"changeover.batch.{product}.{batch}"},
        "payload": payload,
    }
    answer = _post(f"{address(plant, 'prefect')}/api/events", [event], log_in(plant))
    if not answer.is_success:
        raise ServerError(
            f"the Prefect server refused the event ({answer.status_code}: {answer.text[:200]}); see 'changeover doctor'"
        )


def _post(url: str, body: Any, auth: tuple[str, str]) -> "httpx.Response":
    """The answer of Prefect's server; it is asked again while it says 503, which it does when its SQLite is busy."""
    import httpx

    for pause in (0.5, 1.0, 2.0, 4.0, None):
        try:
            answer = httpx.post(url, json=body, auth=auth, timeout=30.0, trust_env=False)
        except httpx.HTTPError as problem:
            kind = type(problem).__name__
            raise ServerError(f"the Prefect server does not answer ({kind}); start it with 'changeover up'") from problem
        if answer.status_code != 503 or pause is None:
            break
        time.sleep(pause)
    return answer


def scheduled_batch(now: datetime.datetime, cron: str | None = None) -> str:
    """The name of a batch that is asked for at ``now``, its scheduled time: one name a run.

    Its local date, such as 2026-11-21, where ``cron`` fires at that time and at no other of the day, or is None. Else with the
    time behind it: 2026-11-21-1800; a run between the firings has its seconds too. ``""``: there is no cron line.
    """
    local = now.astimezone(ZoneInfo(local_zone()))
    name = local.date().isoformat()
    if cron is None:
        return name
    wall = local.replace(tzinfo=None, fold=0)
    planned = cron != "" and fires_at(cron, wall)
    if planned and fires_once_on(cron, wall.date()) and not local.fold:
        return name
    again = "-2" if local.fold else ""  # the hour that is there twice when summer time ends
    return f"{name}-{local:%H%M}{again}" if planned else f"{name}-{local:%H%M%S}{again}"


def _schedule(owner: str, cron: str) -> Any:
    from prefect.schedules import Cron
    from pydantic import ValidationError

    try:
        return Cron(check_cron(cron), timezone=local_zone())
    except (ValueError, ValidationError) as error:
        raise PlantError(f"cron line {cron!r} of {owner} does not parse; {EXAMPLE}") from error
