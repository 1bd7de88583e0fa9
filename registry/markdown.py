"""Text from outside in the Markdown of a version's page."""

import re
from typing import Final

LONGEST: Final = 5000
"""Characters that MLflow keeps of a description."""


def cell(value: object, longest: int = 80) -> str:
    """Text that cannot break out of its table cell or become markup; signs that cannot be printed are shown as ``�``."""
    words = " ".join(str("–" if value is None else value).split())[:longest]
    text = "".join(sign if sign.isprintable() else "�" for sign in words)
    return re.sub(r"([\\`*\[\]<>|!#&])", r"\\\1", text)
