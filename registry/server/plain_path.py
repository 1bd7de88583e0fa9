"""Which paths of requests the registry answers: those that nobody can read in two ways.

MLflow judges one spelling of a path and serves another: werkzeug strips slashes, Starlette decodes, the artifact store
decodes once more. What is let in here means the same to all of them.
"""

import re
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

_LONGEST_SHOWN = 120
# Never needed encoded, so encoded only to be overlooked; and what, once decoded, begins a query, a fragment or a second code.
_NEEDLESS = re.compile(rb"%(?:3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa]|2[DdEe]|5[Ff]|7[Ee])")
_TREACHEROUS = {b"%2f": "slash", b"%5c": "backslash", b"%25": "percent sign", b"%3f": "question mark", b"%23": "number sign"}
_SPELT = re.compile(rb"(?:[!-$&-~]|%[0-9A-Fa-f]{2})*")


def why_crooked(raw: bytes | None, path: str) -> str | None:
    """What is wrong with a request's path, as a sentence; None where it is in normal form.

    ``raw`` is the path as it was sent, percent-encoded; ``path`` is what the server made of it.
    """
    problem = next(_problems(raw, path), None)
    if problem is None:
        return None
    shown = (raw or path.encode("utf-8", "replace")).decode("ascii", "backslashreplace")
    shown = "".join(sign if sign.isprintable() else "?" for sign in shown)
    if len(shown) > _LONGEST_SHOWN:
        shown = shown[: _LONGEST_SHOWN - 1] + "…"
    return f"the path {shown} {problem}; write the address in its plain form"


def _problems(raw: bytes | None, path: str) -> Iterator[str]:
    """Every fault, the one to name first."""
    if raw is None:
        yield "came without the spelling it was sent in"
        return
    if not raw.startswith(b"/"):
        yield "does not begin with a slash"
    if _SPELT.fullmatch(raw) is None:
        yield "holds a sign that has to be percent-encoded, or a percent sign that encodes nothing"
    for code, name in _TREACHEROUS.items():
        if code in raw.lower():
            yield f"holds an encoded {name}"
    if b"\\" in raw or b"#" in raw:
        yield "holds a backslash or a number sign"
    if needless := _NEEDLESS.search(raw):
        yield f"holds {needless.group().decode()}, which is a letter, digit or sign that is never encoded"
    if unquote_to_bytes(raw) != path.encode("utf-8", "surrogatepass"):
        yield "is not the UTF-8 of what it was read as"
    if not path.isprintable():
        yield "holds a control character or an invisible one"
    segments = path[1:].split("/")
    if "" in segments[:-1]:
        yield "holds an empty part (two slashes)"
    if any(segment in (".", "..") for segment in segments):
        yield "holds a part that is '.' or '..'"
