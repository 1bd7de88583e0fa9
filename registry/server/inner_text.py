"""Keeps what the database says to itself out of answers, events and logs: statements, values, hashes of passwords."""

import json
import re
from typing import Any

import sqlalchemy as sa

_INNER = re.compile(r"\s*(?:Error:\s*)?\(?(?:\[SQL:|\[parameters:|sqlite3\.|psycopg2\.|scrypt:|pbkdf2:)")
_HASH = re.compile(r"(?:scrypt|pbkdf2):[^\s'\",)]*")


def hide_parameters() -> None:
    """From now on no engine of this process writes the values of a statement into an error or a log."""
    if not sa.event.contains(sa.Engine, "engine_connect", _hide):
        sa.event.listen(sa.Engine, "engine_connect", _hide)


def _hide(connection: sa.Connection) -> None:
    # Before its first statement: an engine that MLflow makes later is covered as well.
    connection.engine.hide_parameters = True


def without_inner_text(text: str) -> str:
    """``text`` up to where a database begins to speak."""
    found = _INNER.search(text)
    return text if found is None else text[: found.start()].rstrip(" :(") or "the registry's database refused this"


def without_hashes(text: str) -> str:
    """``text`` for a log: statements stay, hashes of passwords go."""
    return _HASH.sub("(hash)", text)


def plain_answer(body: bytes) -> bytes:
    """The body of an answer that says what went wrong, without inner text; the very same bytes where it holds none."""
    text = body.decode("utf-8", "replace")
    if _INNER.search(text) is None:
        return body
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return without_inner_text(text).encode()
    return json.dumps(_plain(content)).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return without_inner_text(value)
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value
