"""Text from outside in CSV: a spreadsheet runs what begins like a formula, and CSV cannot tell it not to."""

import re
from typing import Final

from registry.printable import printable

_STRIPPED: Final = r"[\s\"'`´‘’“”„«»\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]*"
_STARTS: Final = r"[=+\-@＝＋－＠﹦﹢﹣﹫⁼⁺⁻−]"
_FORMULA: Final = re.compile(rf"(^|;)(?={_STRIPPED}{_STARTS}|[\t\r\n])")
"""Where text begins that is run: also behind what spreadsheets strip, and behind a semicolon, which separates cells where the
comma is the decimal sign."""


def cell(value: object) -> object:
    """``value`` for a cell; text gets an apostrophe before what would be run, and shows what cannot be printed escaped."""
    return printable(_FORMULA.sub(r"\1'", value)) if isinstance(value, str) else value
