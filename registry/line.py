"""The line's side of publishing: the model that ``current.json`` points at, if every signature and digest holds.

Needs ``cryptography`` and nothing of MLflow: a line has the published folder and its publisher's public key, pinned there once.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from registry.errors import Broken, NotFound
from registry.names import check_product
from registry.signature import PublicKey, read_signed

POINTER, POINTER_KIND = "current.json", "changeover pointer 1"
POINTER_NAMES = frozenset(("product", "version", "folder", "digest", "at"))
SIGNATURE, MODEL_KIND = "signature.json", "changeover model 1"
MODEL_NAMES = frozenset(("product", "version", "model", "card"))
MODEL, CARD = "model.onnx", "card.json"


@dataclass(frozen=True)
class Published:
    """The model that the line uses. ``model`` holds the very bytes that were checked: load these, not the file."""

    product: str
    version: str
    digest: str
    at: str
    """When the pointer was set, UTC, ISO 8601."""
    card: dict[str, Any]
    model: bytes = field(repr=False)


def read_published(folder: Path, product: str, publisher: PublicKey) -> Published:
    """The current model of ``product`` under ``folder`` (the plant's published folder or a copy of it).

    Raises ``NotFound`` where nothing is published, ``Broken`` where anything is unsigned, changed, signed by another key, or
    stands in the place of another product or version.
    """
    place = folder / check_product(product)
    if not (place / POINTER).is_file():
        raise NotFound(f"{place / POINTER} is missing: {product} is not published in {folder}; promote a version of it")
    pointer = read_signed(place / POINTER, POINTER_KIND, POINTER_NAMES, publisher)
    if pointer["product"] != product:
        raise Broken(
            f"{place / POINTER} points at product {pointer['product']!r}, not {product!r}: another product's file was put there;"
            " publish again"
        )
    return read_folder(place, pointer["version"], pointer["digest"], product, publisher, pointer["folder"], pointer["at"])


def read_folder(place: Path, version: str, digest: str, product: str, publisher: PublicKey, name: str, at: str = "") -> Published:
    """One published version's folder ``name`` in ``place``, checked like that. Raises ``Broken``, ``NotFound``."""
    if name != f"{version}-{digest[:8]}":
        raise Broken(f"folder {name[:80]!r} does not belong to version {version} with digest {digest[:8]}; publish again")
    source = place / name
    if not (source / SIGNATURE).is_file():
        raise Broken(f"{source} has no {SIGNATURE}: an unsigned model is not used; publish the champion again, which signs it")
    signed = read_signed(source / SIGNATURE, MODEL_KIND, MODEL_NAMES, publisher)
    for what, told, wanted in (
        ("product", signed["product"], product),
        ("version", signed["version"], version),
        ("model", signed["model"], digest),
    ):
        if told != wanted:
            raise Broken(
                f"{source / SIGNATURE} speaks of {what} {told[:63]!r}, wanted is {wanted!r}: the files of another version or"
                " product were put there; publish again"
            )
    model, card = (_checked(source / file, signed[key]) for file, key in ((MODEL, "model"), (CARD, "card")))
    return Published(product, version, digest, at, json.loads(card), model)


def _checked(file: Path, digest: str) -> bytes:
    try:
        found = file.read_bytes()
    except (FileNotFoundError, IsADirectoryError) as problem:
        raise Broken(f"{file} is missing, though it was signed; publish again") from problem
    actual = hashlib.sha256(found).hexdigest()
    if actual != digest:
        raise Broken(
            f"{file} has digest {actual[:12]}, signed was {digest[:12]}: it was changed after it was signed; publish again"
        )
    return found
