"""The line's side of publishing: the model that ``current.json`` points at, if every signature and digest holds.

Needs ``cryptography`` and nothing of MLflow: a line has the published folder and its publisher's public key, pinned there once.
The published folder itself may be a link. In it none is followed, and only plain files of a bounded size are read.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from registry.errors import Broken, NotFound, Refused
from registry.folder import Folder, opened
from registry.names import check_product, check_version, is_digest
from registry.signature import LARGEST, PublicKey, read_signed

POINTER, POINTER_KIND = "current.json", "changeover pointer 1"
POINTER_NAMES = frozenset(("product", "version", "folder", "digest", "at"))
SIGNATURE, MODEL_KIND = "signature.json", "changeover model 1"
MODEL_NAMES = frozenset(("product", "version", "model", "card"))
MODEL, CARD = "model.onnx", "card.json"
LARGEST_MODEL: Final = 4 << 30
"""Bytes."""


@dataclass(frozen=True)
class Published:
    """The model that the line uses. ``model`` holds the very bytes that were checked: load these, not the file."""

    product: str
    version: str
    digest: str
    at: str
    """When the pointer was set, UTC, ISO 8601."""
    card: dict[str, Any]
    """What the model is, who signed it, and its figures. Where its ``metrics`` hold ``not_judged.test``, the model has an output
    ``judged`` and rejects what it does not judge."""
    model: bytes = field(repr=False)


def read_published(folder: Path, product: str, publisher: PublicKey) -> Published:
    """The current model of ``product`` under ``folder`` (the plant's published folder or a copy of it).

    Raises ``NotFound`` where nothing is published, ``Broken`` where anything is unsigned, changed, signed by another key, no
    plain file, or stands in the place of another product or version.
    """
    with _place(folder, product) as place:
        pointer = pointer_in(place, product, publisher)
        return read_folder(place, pointer["version"], pointer["digest"], product, publisher, pointer["folder"], pointer["at"])


def read_pointer(folder: Path, product: str, publisher: PublicKey) -> dict[str, str]:
    """What ``current.json`` of ``product`` under ``folder`` says (``POINTER_NAMES``); the model itself is not looked at.

    Raises ``NotFound`` where nothing is published, ``Broken`` where ``publisher`` did not sign it for this product.
    """
    with _place(folder, product) as place:
        return pointer_in(place, product, publisher)


def pointer_in(place: Folder, product: str, publisher: PublicKey) -> dict[str, str]:
    """``read_pointer`` for the folder of a product, at hand."""
    try:
        pointer = read_signed(place, POINTER, POINTER_KIND, POINTER_NAMES, publisher)
    except NotFound as problem:
        raise _unpublished(place.path.parent, product) from problem
    if pointer["product"] != product:
        raise Broken(
            f"{place.path / POINTER} points at product {pointer['product']!r}, not {product!r}: another product's file was put"
            " there; publish again"
        )
    return pointer


def read_folder(
    place: Folder, version: str, digest: str, product: str, publisher: PublicKey, name: str, at: str = ""
) -> Published:
    """One published version's folder ``name`` in ``place``, checked like that. Raises ``Broken``."""
    with _signed(place, version, digest, product, publisher, name) as (source, card):
        model = _checked(source, MODEL, digest, LARGEST_MODEL)
        return Published(product, version, digest, at, card, model)


def check_folder(place: Folder, version: str, digest: str, product: str, publisher: PublicKey, name: str) -> None:
    """Raises what ``read_folder`` does, without holding the model in memory."""
    with _signed(place, version, digest, product, publisher, name) as (source, _):
        try:
            actual = source.digest(MODEL, LARGEST_MODEL)
        except NotFound as problem:
            raise _missing(source, MODEL) from problem
        _compare(source, MODEL, actual, digest)


def folder_name(version: str, digest: str) -> str:
    """What a version's published folder is called."""
    return f"{version}-{digest[:8]}"


@contextmanager
def _place(folder: Path, product: str) -> Iterator[Folder]:
    path = folder / check_product(product)
    try:
        with opened(path) as place:
            yield place
    except NotFound as problem:
        raise _unpublished(folder, product) from problem


def _unpublished(folder: Path, product: str) -> NotFound:
    return NotFound(f"{folder / product / POINTER} is missing: {product} is not published in {folder}; promote a version of it")


@contextmanager
def _signed(
    place: Folder, version: str, digest: str, product: str, publisher: PublicKey, name: str
) -> Iterator[tuple[Folder, dict[str, Any]]]:
    """A version's folder and its card, where the signature is that of this product, version and digest."""
    if not _is_version(version) or not is_digest(digest) or name != folder_name(version, digest):
        raise Broken(f"folder {name[:80]!r} does not belong to version {version[:20]} with digest {digest[:8]}; publish again")
    try:
        with opened(place.path / name, place) as source:
            yield source, _card(source, _signature(source, version, digest, product, publisher))
    except NotFound as problem:
        raise Broken(f"{place.path / name} is missing, though it was published; publish the champion again") from problem


def _is_version(text: str) -> bool:
    try:
        return check_version(text) == text
    except Refused:
        return False


def _signature(source: Folder, version: str, digest: str, product: str, publisher: PublicKey) -> dict[str, str]:
    try:
        signed = read_signed(source, SIGNATURE, MODEL_KIND, MODEL_NAMES, publisher)
    except NotFound as problem:
        raise Broken(
            f"{source.path} has no {SIGNATURE}: an unsigned model is not used; publish the champion again, which signs it"
        ) from problem
    wanted = {"product": product, "version": version, "model": digest}
    for what, value in wanted.items():
        if signed[what] != value:
            raise Broken(
                f"{source.path / SIGNATURE} speaks of {what} {signed[what][:63]!r}, wanted is {value!r}: the files of another"
                " version or product were put there; publish again"
            )
    return signed


def _card(source: Folder, signed: dict[str, str]) -> dict[str, Any]:
    try:
        card = json.loads(_checked(source, CARD, signed["card"], LARGEST))
    except (ValueError, RecursionError) as problem:
        raise Broken(f"{source.path / CARD} is not readable JSON, though it was signed; publish again") from problem
    if not isinstance(card, dict):
        raise Broken(f"{source.path / CARD} is no JSON object, though it was signed; publish again")
    return card


def _checked(source: Folder, name: str, digest: str, largest: int) -> bytes:
    try:
        found = source.read(name, largest)
    except NotFound as problem:
        raise _missing(source, name) from problem
    _compare(source, name, hashlib.sha256(found).hexdigest(), digest)
    return found


def _missing(source: Folder, name: str) -> Broken:
    return Broken(f"{source.path / name} is missing, though it was signed; publish again")


def _compare(source: Folder, name: str, actual: str, digest: str) -> None:
    if actual != digest:
        raise Broken(
            f"{source.path / name} has digest {actual[:12]}, signed was {digest[:12]}: it was changed after it was signed;"
            " publish again"
        )
