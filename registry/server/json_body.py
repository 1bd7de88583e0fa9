"""Whether the JSON body of a request is one: MLflow fails inside on much that is none, and the client is to be told."""

import json
from typing import Final

from flask import request

_TEXTS: Final = ("name", "version", "key", "alias", "username", "run_id", "experiment_id", "new_name", "source", "model_id")
TOO_DEEP: Final = "the body is nested too deeply; send a flat one"


def body_problem() -> str | None:  # noqa: PLR0911 - a list of faults
    """What is wrong with the body of the current request, as a sentence; None where it is a JSON object that can be stored.

    Asked after MLflow failed, for much that is no object is let pass by some of its routes.
    """
    if request.method == "GET" or not request.is_json:
        return None
    try:
        found = json.loads(request.get_data() or b"null")
        if not isinstance(found, dict):
            return "the body is no JSON object; send one as MLflow's documentation says"
        for key in _TEXTS:
            if isinstance(found.get(key), list | dict):
                return f"'{key}' is a text, and the body holds a list or an object there; send a text"
        json.dumps(found, ensure_ascii=False).encode()
    except RecursionError:
        return TOO_DEEP
    except UnicodeEncodeError:
        return "the body holds half a letter (a lone surrogate), which nothing can store; leave it out"
    except ValueError:
        return "the body is no JSON; send a JSON object as MLflow's documentation says"
    return None
