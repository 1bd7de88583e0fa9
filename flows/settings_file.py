"""A file of settings as people write it: YAML in which every key is a name, and stands there once."""

from pathlib import Path
from typing import Any

import yaml

from flows.errors import PlantError


def read_settings_file(source: Path) -> dict[str, Any]:
    """The ``key: value`` lines of ``source``, {} where it is empty. PlantError, with the line, where it cannot be read."""
    try:
        values = yaml.load(source.read_bytes(), _Loader)  # noqa: S506  a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}" if mark else ""
        if isinstance(error, _BadKey):
            raise PlantError(f"{source}{where}: {error.problem}") from error
        raise PlantError(f"{source}{where} is not readable YAML; correct it, or empty the file for the defaults") from error
    except (yaml.YAMLError, UnicodeError, ValueError, OverflowError) as error:  # a date such as 2026-02-30 is a ValueError
        raise PlantError(
            f"{source} is not readable YAML ({' '.join(str(error).split())[:120]}); correct it and save it as UTF-8, or empty the"
            " file for the defaults"
        ) from error
    except RecursionError as error:
        raise PlantError(f"{source} holds brackets in brackets, too many to be read; correct it, or empty the file") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise PlantError(f"{source} holds {type(values).__name__}, not 'key: value' lines; correct it, or empty the file")
    return values


class _BadKey(yaml.constructor.ConstructorError):
    """A key that is there twice, or is no name."""


class _Loader(yaml.SafeLoader):
    """Keys as they are written: to YAML 4711 is a number, 007 is seven and ``no`` is false, but here they name a product."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        own: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise _BadKey(None, None, "a key has to be a name; correct the line", key.start_mark)
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in own:
                raise _BadKey(
                    None, None, f"{key.value[:60]!r} stands here again, first in line {own[key.value]}; put both into one",
                    key.start_mark,
                )  # fmt: skip
            own[key.value] = line
        self.flatten_mapping(node)
        return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}
