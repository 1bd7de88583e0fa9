"""Entry of a pipeline stage: settings in, one line a fact out, no traceback for a user's mistake."""

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from core.errors import BadSettings, ChangeoverError
from data.batch import BatchFolder
from data.section import Section

Settings = TypeVar("Settings", bound=Section)


def read_params(folder: BatchFolder) -> dict[str, Any]:
    """``params.yaml`` of a batch as a dictionary; BadSettings if it is missing or damaged."""
    source = folder.file("params.yaml")
    try:
        params = yaml.safe_load(source.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadSettings(f"no params.yaml in {folder.path}; write one with 'changeover run'") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadSettings(f"{source} is not readable YAML; restore it with 'git checkout -- params.yaml'") from error
    if not isinstance(params, dict):
        raise BadSettings(f"{source} holds {type(params).__name__}, not a mapping; restore it with 'git checkout -- params.yaml'")
    return params


def read_settings(params: dict[str, Any], section: str, model: type[Settings]) -> Settings:
    """Validate one section of ``params.yaml``; BadSettings names the field, the value and the rule."""
    try:
        return model.model_validate(params.get(section) or {})
    except ValidationError as error:
        first = error.errors()[0]
        where, rule = ".".join(map(str, (section, *first["loc"]))), first["msg"].removeprefix("Value error, ")
        raise BadSettings(f"params.yaml: {where} is {str(first.get('input'))[:60]!r}: {rule}; correct it there") from error


def run_stage(stage: Callable[[BatchFolder], None]) -> None:
    """Run ``stage`` on the working directory; exit code 2 on a ChangeoverError, 130 when interrupted.

    With ``CHANGEOVER_DEBUG`` set the traceback is printed as well.
    """
    try:
        stage(BatchFolder(Path.cwd()))
    except ChangeoverError as error:
        if os.environ.get("CHANGEOVER_DEBUG"):
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("error: interrupted; run the same command again to resume", file=sys.stderr)
        sys.exit(130)
