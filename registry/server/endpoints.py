"""Our own addresses on the registry's server: the trail, for reading and for what the flows decide, and health."""

import functools
import os
from collections.abc import Callable
from typing import Any, Final, Literal

from filelock import Timeout
from flask import Flask, Response, current_app, jsonify, request
from mlflow.exceptions import MlflowException
from mlflow.server import auth
from pydantic import Field

from registry.errors import RegistryError
from registry.names import PROMOTER, TRAINER, VIEWER, is_digest, is_model, is_product
from registry.server.authorisation import answer, foreign_page, person, plainly
from registry.server.bodies import BadBody, Body, OfProduct, no_product, sent
from registry.server.json_body import TOO_DEEP
from registry.server.serving import Serving
from registry.trail.events import Entry, Event, Trail

ACTIONS: Final[dict[str, frozenset[str]]] = {
    TRAINER: frozenset(("ingest", "keep", "retrain", "fail", "rebuild")),
    PROMOTER: frozenset(("publish", "retract", "adopt")),
}
"""What a service may add to the trail by itself; changes of the registry write their own events."""
OF_TEACHERS: Final = frozenset(("fail",))
"""What of it may be about a teacher."""
OF_THE_PLANT: Final = "adopt"
"""About no product: from here on a copy of a plant is a plant of its own, and its trail goes its own way."""
PLANT_ID: Final = "CHANGEOVER_PLANT_ID"
"""In the environment: whose server this is."""
PAGE: Final = 1000
Answer = Response | tuple[Response, int]


class Report(Body):
    """One decision or action of the flows."""

    action: Literal["ingest", "keep", "retrain", "fail", "rebuild", "publish", "retract", "adopt"]
    product: str = Field(max_length=63)
    version: str = Field(default="", max_length=10, pattern=r"^([1-9][0-9]*)?$")
    digest: str = ""
    subject: str = Field(default="", max_length=500)
    reason: str = Field(default="", max_length=2000)


class Wish(OfProduct):
    """A person asks for a changeover."""

    batch: str = Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")


def add_endpoints(app: Flask, trail: Trail, serving: Serving) -> None:
    """Adds ``/changeover/health``, ``/changeover/events`` and ``/changeover/requests``; call it after MLflow's ``create_app``,
    which asks for users."""

    def health() -> Response:
        number, head = trail.head()
        who = person()
        found = {"status": "ok", "user": who.name, "roles": sorted(who.roles), "events": number, "head": head}
        whose = os.environ.get(PLANT_ID)
        return jsonify(found | {"password_by": who.password_by, "serve": serving.state(), "plant": whose})

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
        report = sent(Report, "send a JSON object with action and product")
        about_none = report.action == OF_THE_PLANT and not report.product
        if not about_none and not (is_model if report.action in OF_TEACHERS else is_product)(report.product):
            return bad_request(no_product(report.product))
        if report.digest and not is_digest(report.digest):
            return bad_request(f"'{report.digest[:80]}' is no sha256 in lower-case hexadecimal; send the model file's digest")
        fields: dict[str, Any] = report.model_dump() | {"actor": who.name, "address": request.remote_addr or ""}
        foreign = foreign_page()
        if foreign is not None or report.action not in allowed:
            sentence = foreign or f"{who} may not record '{report.action}': {_whose(report.action)}; log in as that service"
            trail.append(Entry(**(fields | {"allowed": False, "reason": sentence})))
            return refusal(403, sentence)
        event: Event = trail.append(Entry(**fields, allowed=True))
        return jsonify({"event": event.model_dump(mode="json")})

    def wish() -> Response | tuple[Response, int]:
        who = person()
        wanted = sent(Wish, "send a JSON object with product and batch")
        no = None
        if not who.roles - {VIEWER}:
            no = f"{who} may not ask for a changeover: somebody with a role beyond {VIEWER} does; ask an administrator for one"
        no = foreign_page() or no
        entry = Entry(
            actor=who.name, action="request", product=wanted.product, subject=wanted.batch,
            address=request.remote_addr or "", allowed=no is None, reason=no or "",
        )  # fmt: skip
        event = trail.append(entry)
        return refusal(403, no) if no else jsonify({"event": event.seq})

    for path, method, view in (
        ("/changeover/health", "GET", health),
        ("/changeover/requests", "POST", wish),
        ("/changeover/events", "GET", read),
        ("/changeover/events", "POST", write),
    ):
        add_route(app, path, method, view)


def add_route(app: Flask, path: str, method: str, view: Callable[..., Any]) -> None:
    """One more address of ours. MLflow, told to refuse what it does not know, is told that any user may ask; the views judge
    roles themselves.

    What a view asks for and is not there, a trail that does not hold, and a lock that others have are answered in words; where
    the request was to change something, each leaves its event.
    """

    @functools.wraps(view)
    def answered() -> Any:
        try:
            return view()
        except BadBody as problem:
            return bad_request(str(problem))
        except MlflowException as problem:
            status = problem.get_http_status_code()
            found = refusal(status if 400 <= status < 500 else 500, f"{plainly(str(problem.message))}; look it up with history")
        except Timeout:
            found = refusal(503, "another change of the registry takes too long; try again in a minute")
        except RegistryError as problem:
            found = refusal(503, f"{problem}")
        except RecursionError:
            found = refusal(400, TOO_DEEP)
        if method != "GET":
            trail: Trail = current_app.extensions["changeover"].trail
            why = str(found[0].get_json()["message"])
            actor, address = person().name, request.remote_addr or ""
            trail.append(Entry(actor=actor, action=f"{method} {path}", address=address, allowed=False, reason=why))
        return found

    app.add_url_rule(path, f"changeover_{view.__name__}", answered, methods=[method])
    auth.BEFORE_REQUEST_VALIDATORS[(path, method)] = _any_user


def _any_user() -> bool:
    return True


def _whose(action: str) -> str:
    return " or ".join(f"only role {role} does" for role, actions in ACTIONS.items() if action in actions)


def refusal(status: int, sentence: str) -> tuple[Response, int]:
    """An answer in MLflow's form, which its dialogs and our client can show."""
    codes = {403: "PERMISSION_DENIED", 404: "RESOURCE_DOES_NOT_EXIST", 409: "RESOURCE_CONFLICT", 503: "TEMPORARILY_UNAVAILABLE"}
    return answer(status, codes.get(status, "INVALID_PARAMETER_VALUE" if status < 500 else "INTERNAL_ERROR"), sentence), status


def bad_request(sentence: str) -> tuple[Response, int]:
    """The answer to a request that was to change something and cannot be understood; it leaves its event."""
    trail: Trail = current_app.extensions["changeover"].trail
    entry = Entry(
        actor=person().name, action=f"{request.method} {request.path}", address=request.remote_addr or "", allowed=False,
        reason=sentence,
    )  # fmt: skip
    trail.append(entry)
    return refusal(400, sentence)
