"""Our own addresses on the registry's server: the trail, for reading and for what the flows decide, and health."""

from collections.abc import Callable
from typing import Any, Final, Literal

from flask import Flask, Response, jsonify, request
from mlflow.server import auth
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from registry.events import Entry, Event, Trail
from registry.gate import person
from registry.names import PROMOTER, TRAINER, is_digest, is_model, is_product

ACTIONS: Final[dict[str, frozenset[str]]] = {
    TRAINER: frozenset(("ingest", "keep", "retrain", "fail", "rebuild")),
    PROMOTER: frozenset(("publish", "retract")),
}
"""What a service may add to the trail by itself; changes of the registry write their own events."""
OF_TEACHERS: Final = frozenset(("fail",))
"""What of it may be about a teacher."""
PAGE: Final = 1000


class Report(BaseModel):
    """One decision or deed of the flows."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    action: Literal["ingest", "keep", "retrain", "fail", "rebuild", "publish", "retract"]
    product: str = Field(max_length=63)
    version: str = Field(default="", max_length=10, pattern=r"^([1-9][0-9]*)?$")
    digest: str = ""
    subject: str = Field(default="", max_length=500)
    reason: str = Field(default="", max_length=2000)


def add_endpoints(app: Flask, trail: Trail) -> None:
    """Adds ``/changeover/health`` and ``/changeover/events``; call it after MLflow's ``create_app``, which asks for users."""

    def health() -> Response:
        number, head = trail.head()
        who = person()
        return jsonify({"status": "ok", "user": who.name, "roles": sorted(who.roles), "events": number, "head": head})

    def read() -> Response | tuple[Response, int]:
        product = request.args.get("product")
        after = request.args.get("after", "0")
        if product is not None and not is_model(product):
            return refusal(400, f"'{product}' cannot name a product; give one as in ?product=bolt-m6")
        if not after.isdecimal() or len(after) > 12:
            return refusal(400, f"after={after} is no number of an event; give one as in ?after=1000")
        events = trail.events(product, after=int(after), at_most=PAGE)
        return jsonify({"events": [event.model_dump(mode="json") for event in events], "page": PAGE})

    def write() -> Response | tuple[Response, int]:
        who = person()
        allowed = frozenset[str]().union(*(ACTIONS[role] for role in who.roles if role in ACTIONS))
        try:
            report = Report.model_validate(request.get_json(silent=True))
        except ValidationError as problem:
            first = problem.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"])) or "body"
            return refusal(400, f"{place}: {first['msg']}; send a JSON object with action and product")
        if not (is_model if report.action in OF_TEACHERS else is_product)(report.product):
            return refusal(400, f"'{report.product}' cannot name a product; send the product's name")
        if report.digest and not is_digest(report.digest):
            return refusal(400, f"'{report.digest[:80]}' is no sha256 in lower-case hexadecimal; send the model file's digest")
        fields: dict[str, Any] = report.model_dump() | {"actor": who.name, "address": request.remote_addr or ""}
        if report.action not in allowed:
            sentence = f"{who} may not record '{report.action}': {_whose(report.action)}; log in as that service"
            trail.append(Entry(**(fields | {"allowed": False, "reason": sentence})))
            return refusal(403, sentence)
        event: Event = trail.append(Entry(**fields, allowed=True))
        return jsonify({"event": event.model_dump(mode="json")})

    for path, method, view in (
        ("/changeover/health", "GET", health),
        ("/changeover/events", "GET", read),
        ("/changeover/events", "POST", write),
    ):
        add_route(app, path, method, view)


def add_route(app: Flask, path: str, method: str, view: Callable[..., Any]) -> None:
    """One more address of ours. MLflow, told to refuse what it does not know, is told that any user may ask; the views judge
    roles themselves."""
    app.add_url_rule(path, f"changeover_{view.__name__}", view, methods=[method])
    auth.BEFORE_REQUEST_VALIDATORS[(path, method)] = _any_user


def _any_user() -> bool:
    return True


def _whose(action: str) -> str:
    return " or ".join(f"only role {role} does" for role, actions in ACTIONS.items() if action in actions)


def refusal(status: int, sentence: str) -> tuple[Response, int]:
    """An answer in MLflow's form, which its dialogs and our client can show."""
    code = "PERMISSION_DENIED" if status == 403 else "INVALID_PARAMETER_VALUE"
    return jsonify({"error_code": code, "message": sentence}), status
