"""Deliveries: genuine ones are acted on once, forged and repeated ones never."""

import pytest
from mlflow.webhooks.delivery import _generate_hmac_signature

from registry.server.webhook import Deliveries

NOW = 1_800_000_000.0
BODY = b'{"entity": "model_version_tag", "data": {"key": "qa"}}'


def delivered(number: str = "d-1", at: float = NOW, secret: str = "s3cret", body: bytes = BODY) -> dict[str, str]:  # noqa: S107 - no secret
    """Headers as MLflow makes them."""
    stamp = str(int(at))
    signature = _generate_hmac_signature(secret, number, stamp, body.decode())
    return {"x-mlflow-delivery-id": number, "x-mlflow-timestamp": stamp, "x-mlflow-signature": signature}


def test_what_mlflow_signs_is_genuine_once() -> None:
    deliveries = Deliveries("s3cret")
    assert deliveries.problem(delivered(), BODY, NOW) is None
    assert "before" in (deliveries.problem(delivered(), BODY, NOW + 1) or "")
    assert deliveries.problem(delivered("d-2"), BODY, NOW) is None


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (delivered(secret="guessed"), BODY),
        (delivered(), BODY.replace(b"qa", b"xx")),
        (delivered() | {"x-mlflow-delivery-id": "d-9"}, BODY),
        (delivered() | {"x-mlflow-timestamp": str(int(NOW) + 1)}, BODY),
        (delivered() | {"x-mlflow-signature": ""}, BODY),
        (delivered() | {"x-mlflow-signature": "v1,é"}, BODY),
        ({}, BODY),
    ],
)
def test_forged_ones_are_refused_and_leave_no_trace(headers: dict[str, str], body: bytes) -> None:
    deliveries = Deliveries("s3cret")
    assert "not signed with this plant's secret" in (deliveries.problem(headers, body, NOW) or "")
    assert deliveries.problem(delivered(), BODY, NOW) is None


@pytest.mark.parametrize("late", [-301.0, 301.0])
def test_old_ones_and_those_from_the_future_are_refused(late: float) -> None:
    assert "seconds away" in (Deliveries("s3cret").problem(delivered(), BODY, NOW + late) or "")
