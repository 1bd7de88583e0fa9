"""Records of a batch, which a person or another program may have changed: what they hold, or a line that says what to do."""

import json
from pathlib import Path
from typing import Any

from core.errors import BadBatch
from data.batch import BatchFolder
from models.evaluation.metrics_file import Metrics, read_metrics


def read_object(source: Path, fix: str = "restore it") -> dict[str, Any]:
    """The JSON object in ``source``; BadBatch, ending in ``fix``, where there is none."""
    try:
        found = json.loads(source.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadBatch(f"{source} is missing or damaged ({type(error).__name__}); {fix}") from error
    if not isinstance(found, dict):
        raise BadBatch(f"{source} holds {type(found).__name__}, not an object; {fix}")
    return found


def metrics_of(folder: BatchFolder, fix: str) -> Metrics:
    """``report/metrics.json`` of a batch; BadBatch, ending in ``fix``, where it is missing or damaged."""
    source = folder.file("report") / "metrics.json"
    try:
        return read_metrics(source.read_bytes())
    except (OSError, ValueError) as error:
        raise BadBatch(f"{source} is missing or damaged ({error}); {fix}") from error
