"""MLflow's webhook for changed tags: asking for it, and telling a genuine delivery from a forged or repeated one.

A delivery says only that something changed; what follows from it is decided from the registry itself. So a lost one costs a
minute (the poll), and a forged one would cost a look at the registry.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

from registry.client.connection import Connection

NAME: Final = "changeover-promotion"
OLDEST_SECONDS: Final = 300.0
LONGEST_BODY: Final = 1 << 20
REMEMBERED: Final = 10_000


class Deliveries:
    """Judges deliveries that are signed with ``secret``; remembers those it has seen."""

    def __init__(self, secret: str) -> None:
        self._secret = secret
        self._seen: dict[str, None] = {}

    def problem(self, headers: Mapping[str, str], body: bytes, now: float) -> str | None:
        """Why a delivery is not to be acted on; None where it is. ``headers`` by lower-case name, ``now`` in Unix seconds."""
        number, stamp = headers.get("x-mlflow-delivery-id", ""), headers.get("x-mlflow-timestamp", "")
        signed = f"{number}.{stamp}.".encode() + body
        wanted = "v1," + base64.b64encode(hmac.new(self._secret.encode(), signed, hashlib.sha256).digest()).decode()
        if not hmac.compare_digest(wanted.encode(), headers.get("x-mlflow-signature", "").encode("utf-8", "replace")):
            return "it is not signed with this plant's secret"
        if not stamp.isdecimal() or abs(now - float(stamp)) > OLDEST_SECONDS:
            return f"its time {stamp!r} is more than {OLDEST_SECONDS:.0f} seconds away: it is a replay, or a clock is wrong"
        if number in self._seen:
            return "it was delivered before"
        self._seen[number] = None
        while len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]
        return None


def subscribe(connection: Connection, url: str, secret: str) -> None:
    """Has changes of versions' tags delivered to ``url``, and nowhere else under our name; ``connection`` is an
    administrator's."""
    with connection.client() as client:
        for old in client.list_webhooks(max_results=100):
            if old.name == NAME:
                client.delete_webhook(old.webhook_id)
        client.create_webhook(NAME, url, ["model_version_tag.set", "model_version_tag.deleted"], secret=secret)


def announce(product: str, version: str, key: str, value: str) -> None:
    """Inside the server: tells subscribers that a tag was set. MLflow does so for its own routes; ours write without them."""
    from mlflow.entities.webhook import WebhookAction, WebhookEntity, WebhookEvent
    from mlflow.server.handlers import _get_model_registry_store
    from mlflow.webhooks.delivery import deliver_webhook
    from mlflow.webhooks.types import ModelVersionTagSetPayload

    deliver_webhook(
        event=WebhookEvent(WebhookEntity.MODEL_VERSION_TAG, WebhookAction.SET),
        payload=ModelVersionTagSetPayload(name=product, version=version, key=key, value=value),
        store=_get_model_registry_store(),
    )
