"""A port on loopback answers to its own names, and to no page of another server."""

import pytest

from flows.serving.door import complaint


@pytest.mark.parametrize("host", ["127.0.0.1:4200", "localhost:4200", "LocalHost:4200"])
def test_its_own_names(host: str) -> None:
    assert complaint([("Host", host)], 4200) is None
    assert complaint([("host", host), ("Origin", "http://localhost:4200")], 4200) is None


@pytest.mark.parametrize(
    "host", ["", "evil.example", "127.0.0.1", "127.0.0.1:80", "127.0.0.1:4200.evil", "a@127.0.0.1:4200", "[::1]:4200"]
)
def test_other_names_are_misdirected(host: str) -> None:
    status, sentence = complaint([("Host", host)], 4200) or (0, "")
    assert status == 421 and "call it by http://127.0.0.1:4200" in sentence


def test_exactly_one_host() -> None:
    own = ("Host", "127.0.0.1:4200")
    assert complaint([], 4200) and complaint([own, own], 4200) and complaint([own, ("HOST", "evil")], 4200)


@pytest.mark.parametrize("origin", ["null", "http://evil.example", "https://127.0.0.1:4200", "http://127.0.0.1:5000", ""])
def test_foreign_pages_are_refused(origin: str) -> None:
    status, sentence = complaint([("Host", "127.0.0.1:4200"), ("Origin", origin)], 4200) or (0, "")
    assert status == 403 and "may not ask" in sentence


def test_what_somebody_sent_is_shown_escaped_and_short() -> None:
    sentence = (complaint([("Host", "a\x1b[2J" + "é" * 500)], 4200) or (0, ""))[1]
    assert sentence.isascii() and sentence.isprintable() and len(sentence) < 200
