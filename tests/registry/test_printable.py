"""Whatever somebody chose to be called, it does nothing where it is shown."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from registry.printable import printable

SURROGATES = st.characters(min_codepoint=0xD800, max_codepoint=0xDFFF, categories=("Cs",))
ANYTHING = st.text(st.one_of(st.characters(), SURROGATES, st.characters(categories=("Cc", "Cf", "Zl", "Zp", "Zs", "Mn", "Co"))))


@given(ANYTHING)
@example("\x1b]0;title\x07")
@example("\u202egnp.exe")
@example("a\u200bb\u2060c\ufeffd")
@example("one\u2028two\u2029three\x85four\x0bfive")
@example("\ud800")
@example("\\x1b")
def test_nothing_unprintable_is_left(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable() and len(shown.splitlines()) <= 1
    assert not {unicodedata.category(one) for one in shown} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert printable(shown) == shown
    shown.encode("utf-8")


@given(st.text(st.characters(categories=("L", "N", "P", "S"), max_codepoint=0x33F)))
def test_what_can_be_read_stays(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x9b31m", "\\x9b31m"),
        ("a\r\nb\tc", "a\\r\\nb\\tc"),
        ("\u202eabc\u2066", "\\u202eabc\\u2066"),
        ("ana\u200b", "ana\\u200b"),
        ("ana\u3164\u2800\ufe0f", "ana\\u3164\\u2800\\ufe0f"),
        ("\U000e0041", "\\U000e0041"),
        ("5\u00a0%", "5 %"),
        ("Jürgen Größe, 検査, (×)", "Jürgen Größe, 検査, (×)"),
        (7, "7"),
    ],
)
def test_what_cannot_be_seen_is_shown(text: object, shown: str) -> None:
    assert printable(text) == shown
