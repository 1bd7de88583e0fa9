"""Records of a batch, which a person or another program may have changed: JSON objects, or a line that says what to do."""

import json
from pathlib import Path
from typing import Any

from core.errors import BadBatch


def read_object(source: Path, fix: str = "restore it") -> dict[str, Any]:
    """The JSON object in ``source``; BadBatch, ending in ``fix``, where there is none."""
    try:
        found = json.loads(source.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadBatch(f"{source} is missing or damaged ({type(error).__name__}); {fix}") from error
    if not isinstance(found, dict):
        raise BadBatch(f"{source} holds {type(found).__name__}, not an object; {fix}")
    return found
