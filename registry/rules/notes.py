"""Notes that a person of quality assurance puts on a picture: a box and what is to be seen there."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

MOST = 50
Fraction = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]


class Note(BaseModel):
    """A box in fractions (0..1) of the width and height of ``picture``, a file attached to the version's run, and a remark."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    picture: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.png$")
    left: Fraction
    top: Fraction
    right: Fraction
    bottom: Fraction
    text: str = Field(min_length=1, max_length=500)

    @model_validator(mode="after")
    def _has_an_area(self) -> "Note":
        if self.left >= self.right or self.top >= self.bottom:
            raise ValueError("a box has left < right and top < bottom")
        return self


_NOTES = TypeAdapter(Annotated[list[Note], Field(max_length=MOST)])


def read_notes(text: str) -> list[Note]:
    """The notes in a tag's value (JSON); ``ValueError`` for anything else."""
    return _NOTES.validate_json(text or "[]")


def written_notes(notes: tuple[Note, ...]) -> str:
    """The tag's value for ``notes``."""
    return _NOTES.dump_json(list(notes)).decode()


def notes_problem(text: str) -> str | None:
    """Why ``text`` holds no notes; None where it does."""
    try:
        read_notes(text)
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the list"
        return f"{place}: {first['msg']}; notes are a JSON list of boxes, drawn on the review page"
    return None
