"""Text from outside, made safe to show: on a terminal, in a table, in a log, on a page.

A name, a reason, a tag or an address is what somebody else chose. Unchanged it can move the cursor, colour and overwrite what
stands there, turn the order of letters round, or hide letters that have no width.
"""

import re
import unicodedata
from typing import Final

_INVISIBLE: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""What Python counts as printable and nobody sees: fillers, joiners, variation selectors, the empty Braille pattern."""


def printable(text: object) -> str:
    r"""``str(text)`` with everything that cannot be seen shown as an escape (``\x1b``, ``\u202e``, ``\n``), and spaces as such.

    Nothing that a terminal takes for a command is left, nor line ends, bidirectional overrides, letters without a width, or what
    UTF-8 cannot hold. The same text again comes out unchanged.
    """
    shown = []
    for sign in str(text):
        if sign.isprintable() and not _INVISIBLE.match(sign):
            shown.append(sign)
        elif unicodedata.category(sign) == "Zs":
            shown.append(" ")  # of another width
        else:
            shown.append(_escaped(sign))
    return "".join(shown)


def _escaped(sign: str) -> str:
    number = ord(sign)
    short = {9: "\\t", 10: "\\n", 13: "\\r"}.get(number)
    return short or (f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}")
