"""Asking a running ``changeover serve`` for a changeover, by an event."""

import datetime
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.batch import check_name
from flows.errors import PlantError, ServerError
from flows.plant import Plant
from flows.requester import Requester
from flows.serving.prefect_password import log_in
from flows.serving.servers import address

if TYPE_CHECKING:
    import httpx

READY = "changeover.images.ready"
"""The event that asks for a changeover; its payload is ``PAYLOAD``."""
PAYLOAD = ("product", "batch", "images", "requested_by", "request_event")


def request(plant: Plant, product: str, batch: str, images: Path, requester: Requester) -> None:
    """Ask a serving process for a changeover by an event. The same request again finds everything done and does nothing."""
    check_name("product", product)
    check_name("batch", batch)
    images = images.expanduser().resolve()
    if not images.is_dir():
        raise PlantError(
            f"{images} is not a folder; name the folder of good images that the serving machine sees under that path"
        )
    payload = dict(zip(PAYLOAD, (product, batch, str(images), *requester.as_parameters()), strict=True))
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
