"""The names of a source's files, found by what people and programs write instead of them."""

import posixpath
from collections.abc import Callable, Iterable
from unicodedata import normalize


def _plain(name: str) -> str:
    """With ``/`` between folders, letters composed, no ``./``."""
    return posixpath.normpath(normalize("NFC", name).replace("\\", "/"))


def _folded(name: str) -> str:
    """The same in lower case."""
    return normalize("NFC", _plain(name).casefold())


def _without_ending(name: str) -> str:
    return posixpath.splitext(_folded(name))[0]


def _bare(name: str) -> str:
    return posixpath.basename(_folded(name))


def _bare_without_ending(name: str) -> str:
    return posixpath.basename(_without_ending(name))


_KEYS: tuple[Callable[[str], str], ...] = (_plain, _folded, _without_ending, _bare, _bare_without_ending)
"""By what a file is found, strictest first; by the last two where no folder is written."""
_WITH_FOLDER = 3


class SourceNames:
    """Names with ``/`` between folders, as seen from the source."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = frozenset(names)
        self._found: tuple[dict[str, list[str]], ...] = tuple({} for _ in _KEYS)
        for name in sorted(self.names):
            for found, key in zip(self._found, _KEYS, strict=True):
                found.setdefault(key(name), []).append(name)

    def meant_by(self, written: str, prefix: str = "") -> list[str]:
        """The one name that ``written`` means, less ``prefix``; several where it may be one of them, none where it is not here.

        Slashes either way, ``./``, composed or decomposed letters, upper or lower case, and a missing ending make no difference,
        nor do missing folders.
        """
        if written in self.names and not prefix:
            return [written]
        folded = _folded(written)
        if not folded.startswith(prefix):
            return []
        key = folded.removeprefix(prefix)
        levels = self._found if "/" not in key else self._found[:_WITH_FOLDER]
        exact = levels[0].get(_plain(written), []) if not prefix else []
        return exact or next((names[key] for names in levels[1:] if key in names), [])

    def prefixes(self, written: str) -> list[str]:
        """What may be cut off ``written``, whole folders, so that a name is left; the least first. In lower case."""
        parts = _folded(written).split("/")
        ends = (("/".join(parts[:cut]) + "/", "/".join(parts[cut:])) for cut in range(1, len(parts)))
        return [
            start for start, end in ends if not start.startswith("../") and any(end in f for f in self._found[1:_WITH_FOLDER])
        ]
