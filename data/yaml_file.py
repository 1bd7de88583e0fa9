"""Writing YAML."""

from pathlib import Path
from typing import Any

import yaml

from core.files import write_text


def write_yaml(target: Path, value: Any) -> None:
    """Write ``value`` as block-style YAML in the order given."""
    write_text(target, yaml.safe_dump(value, sort_keys=False, allow_unicode=True))
