"""Bodies of requests to our own addresses: JSON objects, read strictly."""

from typing import TypeVar

from flask import request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from registry.names import is_product

Sent = TypeVar("Sent", bound="Body")


class Body(BaseModel):
    """Base of every body: an unknown field and a value of another type are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class OfProduct(Body):
    """A body that names a product."""

    product: str = Field(max_length=63)


class BadBody(Exception):
    """Why a body is not understood, in one sentence. ``endpoints.add_route`` answers and records it."""


def sent(kind: type[Sent], fix: str = "send a JSON object as the documentation says") -> Sent:
    """The body of the current request; ``BadBody`` where it is none of that ``kind``, or names no product where it has to."""
    try:
        found = kind.model_validate(request.get_json(silent=True))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "body"
        raise BadBody(f"{place}: {first['msg']}; {fix}") from error
    if isinstance(found, OfProduct) and not is_product(found.product):
        raise BadBody(no_product(found.product))
    return found


def no_product(name: str) -> str:
    """The sentence for a name that cannot be a product's."""
    return f"'{name}' cannot name a product; send the product's name"
