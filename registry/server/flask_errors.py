"""What Flask answers where something failed inside: a sentence, and nothing of what the database said."""

from flask import Flask, Response, current_app, g, request
from werkzeug.exceptions import InternalServerError

from registry.server.endpoints import refusal
from registry.server.front import inner_failure
from registry.server.inner_text import plain_answer
from registry.server.json_body import TOO_DEEP, body_problem
from registry.trail.events import Entry


def install_errors(app: Flask) -> None:
    """Adds the handlers; call it after the gate's hooks, which then see answers, and write events, without inner text."""
    app.register_error_handler(RecursionError, _too_deep)
    app.register_error_handler(InternalServerError, _inner)
    app.after_request(_plain)


def _too_deep(_problem: RecursionError) -> tuple[Response, int]:
    return _clients_fault(TOO_DEEP)


def _clients_fault(sentence: str) -> tuple[Response, int]:
    """MLflow failed on a body that is none. Where it was to change something, and nobody judged it yet, that is an event."""
    user = g.get("mlflow_authenticated_user")
    if user and request.method not in ("GET", "HEAD", "OPTIONS") and "changeover_attempt" not in g:
        action, address = f"{request.method} {request.path}", request.remote_addr or ""
        entry = Entry(actor=user, action=action, address=address, allowed=False, reason=sentence)
        current_app.extensions["changeover"].trail.append(entry)
    return refusal(400, sentence)


def _inner(problem: InternalServerError) -> tuple[dict[str, str], int] | tuple[Response, int]:
    if sentence := body_problem():
        return _clients_fault(sentence)
    answer = inner_failure(problem.original_exception or problem, f"{request.method} {request.path[:200]}")
    return {"error_code": answer.code, "message": answer.sentence}, answer.status


def _plain(response: Response) -> Response:
    if response.status_code == 500 and (sentence := body_problem()):
        return refusal(400, sentence)[0]
    if response.status_code >= 400 and not response.direct_passthrough:
        whole = response.get_data()
        if (plain := plain_answer(whole)) != whole:
            response.set_data(plain)
    return response
