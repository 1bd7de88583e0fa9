"""Writes ``docs/settings.md``: every setting, its default, what is allowed and what it means. Read from the models themselves.

python docs/list_settings.py
"""

import json
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types as limits
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from data.defects.recipe import TRAINING_FAMILIES
from flows.config import PlantConfig, Product, ProductFile
from flows.stage_sections import SECTIONS, SHORT, StageSections
from models.detectors.catalogue import NETWORKS

PAGE = Path(__file__).with_name("settings.md")
HEAD = """\
# Settings

This page is made from the code (`python docs/list_settings.py`); `changeover settings` shows what holds in your plant, and
where each value comes from.

A setting is looked for in this order, and the nearest one wins:

1. the command line (`changeover run --preset quick --budget 3m`),
2. `products/<product>/product.yaml`,
3. `changeover.yaml`, where a product's own lines (`products: bolt-m6:`) go before the plant's,
4. the preset,
5. the default.

`changeover run` writes what comes out into `params.yaml` beside the batch. Nobody edits that file: a change by hand is refused,
and the message names the file to edit instead. A misspelt key, a key that stands twice and a value out of range are refused
before the first step.
"""


def _kind(annotation: Any) -> str:
    """A type in words."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kind(get_args(annotation)[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if origin in (Union, types.UnionType):
        return " or ".join(_kind(part) for part in get_args(annotation))
    if origin is tuple:
        return "list"
    words = {float: "number", int: "whole number", str: "text", bool: "`true`, `false`", types.NoneType: "`null`"}
    return words.get(annotation, str(annotation))


def _range(field: FieldInfo) -> str:
    said = []
    for one in field.metadata:
        if isinstance(one, limits.Ge):
            said.append(f"at least {one.ge}")
        elif isinstance(one, limits.Gt):
            said.append(f"above {one.gt}")
        elif isinstance(one, limits.Le):
            said.append(f"at most {one.le}")
        elif isinstance(one, limits.Lt):
            said.append(f"below {one.lt}")
        elif isinstance(one, limits.MultipleOf):
            said.append(f"a multiple of {one.multiple_of}")
    return ", ".join([_kind(field.annotation), *said])


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, tuple):
        return "all" if value == TRAINING_FAMILIES else ", ".join(map(str, value)) or "none"
    return f"`{value}`" if isinstance(value, str) else json.dumps(value)


def _inner(field: FieldInfo) -> type[BaseModel] | None:
    found = field.annotation
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


def rows(model: type[BaseModel], prefix: str = "", without: frozenset[str] = frozenset()) -> Iterator[str]:
    """A line of the table for each setting of ``model``; those of sections in it have the section's name before them."""
    for name, field in model.model_fields.items():
        if name in without:
            continue
        key = f"{prefix}{field.alias or name}"
        if (inner := _inner(field)) is not None:
            yield from rows(inner, f"{key}.")
        else:
            words = " ".join((field.description or "").split())
            yield f"| `{key}` | {_default(field)} | {_range(field)} | {words} |"


def page() -> str:
    """The whole page."""
    head = ["| setting | default | allowed | what it is |", "|---|---|---|---|"]
    own = frozenset({*StageSections.model_fields, "products"})
    parts = [HEAD, "## `changeover.yaml`", *head, *rows(PlantConfig, without=own), ""]
    parts += ["## `changeover.yaml`, `products: <product>:`", *head, *rows(Product), ""]
    parts += ["## `products/<product>/product.yaml`", *head, *rows(ProductFile, without=own), ""]
    short = ", ".join(f"`{name}`" for name in SHORT)
    parts += ["# Sections of the stages"]
    parts += [f"In `changeover.yaml` or `product.yaml`. {short} of `evaluate` may also stand at the left margin.", ""]
    for name, section in SECTIONS.items():
        parts += [f"## `{name}`", " ".join((section.__doc__ or "").split()), "", *head, *rows(section, f"{name}."), ""]
    parts += [f"Named networks: {', '.join(f'`{name}`' for name in NETWORKS)}.", ""]
    parts += [f"Families of pseudo-defects: {', '.join(f'`{name}`' for name in TRAINING_FAMILIES)}.", ""]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.name}")
