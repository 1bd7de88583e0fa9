"""``teacher.json``, which comes with a teacher's weights, as the registry reads it: a file from outside until it was checked."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from registry.errors import NotFound, Refused
from registry.markdown import LONGEST, cell
from registry.names import TEACHER, is_digest, is_teacher

CARD: Final = "teacher.json"
LARGEST: Final = 1 << 20
"""Bytes of a card."""
MOST_ROWS: Final = 30
"""Of how a teacher was trained, as many lines are described."""


def _name(text: str) -> str:
    if not is_teacher(f"{TEACHER}{text}"):
        raise ValueError("a teacher's name is 1 to 51 of a-z, 0-9, '.', '_' and '-', starting with a letter or digit")
    return text


def _digest(text: str) -> str:
    if not is_digest(text):
        raise ValueError("a digest is a sha256 in lower-case hexadecimal")
    return text


def _words(text: str) -> str:
    """``text`` in one line, of signs that can be printed."""
    line = " ".join(text.split())
    if not line or not line.isprintable():
        raise ValueError("at least one sign, and none that cannot be printed (control characters …)")
    return line


def _network(settings: dict[str, Any]) -> dict[str, Any]:
    backbone = settings.get("backbone", "patch networks")
    if not isinstance(backbone, str) or re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/: -]{0,99}", backbone, re.ASCII) is None:
        raise ValueError("'backbone' is a network's name, of letters, digits and '._/:-'")
    return settings


class Card(BaseModel):
    """What the registry has to know of a card; more may stand in the file, and is kept with it."""

    model_config = ConfigDict(frozen=True, strict=True)
    name: Annotated[str, AfterValidator(_name)]
    kind: Literal["features", "patches"]
    settings: Annotated[dict[str, Any], AfterValidator(_network)]
    source: Literal["imported", "pulled", "self-supervised", "pseudo-defects", "distilled"]
    origin: Annotated[str, Field(max_length=1000), AfterValidator(_words)]
    licence: Annotated[str, Field(max_length=1000), AfterValidator(_words)]
    digest: Annotated[str, AfterValidator(_digest)]
    made: dict[str, Any] = {}

    @property
    def network(self) -> str:
        """The network in a few words."""
        return str(self.settings.get("backbone", "patch networks"))


def read_card(file: Path) -> Card:
    """The card in ``file``. Raises ``NotFound`` where there is none, ``Refused`` where it is not as a card has to be."""
    try:
        with file.open("rb") as opened:
            content = opened.read(LARGEST + 1)
    except OSError as problem:
        raise NotFound(
            f"{file} cannot be read ({type(problem).__name__}): a teacher comes with its card; make it again"
        ) from problem
    if len(content) > LARGEST:
        raise Refused(f"{file} has more than {LARGEST >> 20} MiB: a card is small; make it again without long lists")
    try:
        return Card.model_validate(json.loads(content))
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise Refused(
            f"{file} is no card of a teacher: {place}: {first['msg']}; correct it, or make the teacher again"
        ) from problem
    except (ValueError, RecursionError) as problem:
        raise Refused(f"{file} is no JSON ({type(problem).__name__}): a card is; make the teacher again") from problem


def describe(card: Card) -> str:
    """Markdown for the version of a teacher: what it is, where it comes from, its licence, and how it was trained."""
    rows: list[tuple[str, object]] = [
        ("kind", card.kind), ("network", card.network), ("source", card.source), ("from", card.origin),
        ("licence", card.licence), ("weights", f"sha256 {card.digest}"),
    ]  # fmt: skip
    rows += list(_flat("", card.made))[:MOST_ROWS]
    table = "\n".join(f"| {cell(title)} | {cell(value, 300)} |" for title, value in rows)
    note = "A teacher: no line uses it, so nobody signs it. The versions that were trained with it are signed."
    whole = f"### teacher {cell(card.name)}\n\n{note}\n\n| | |\n|---|---|\n{table}"
    return whole if len(whole) <= LONGEST else whole[: LONGEST - 1] + "…"


def _flat(prefix: str, made: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """What ``made`` says in single values, two levels deep; of lists how long they are."""
    for key, value in made.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{key}.", value) if not prefix else ((f"{prefix}{key}", f"{len(value)} entries"),)
        else:
            yield f"{prefix}{key}", f"{len(value)} entries" if isinstance(value, list) else value
