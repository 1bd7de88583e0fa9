"""What Flask answers where something failed inside: a sentence, and nothing of what the database said."""

from flask import Flask, Response, request
from werkzeug.exceptions import InternalServerError

from registry.endpoints import refusal
from registry.front import TOO_DEEP, inner_failure
from registry.inner_text import plain_answer


def install_errors(app: Flask) -> None:
    """Adds the handlers; call it after the gate's hooks, which then see answers, and write events, without inner text."""
    app.register_error_handler(RecursionError, _too_deep)
    app.register_error_handler(InternalServerError, _inner)
    app.after_request(_plain)


def _too_deep(_problem: RecursionError) -> tuple[Response, int]:
    return refusal(400, TOO_DEEP)


def _inner(problem: InternalServerError) -> tuple[dict[str, str], int]:
    answer = inner_failure(problem.original_exception or problem, f"{request.method} {request.path[:200]}")
    return {"error_code": answer.code, "message": answer.sentence}, answer.status


def _plain(response: Response) -> Response:
    if response.status_code >= 400 and not response.direct_passthrough:
        whole = response.get_data()
        if (plain := plain_answer(whole)) != whole:
            response.set_data(plain)
    return response
