"""Signatures of what is published: Ed25519 over small JSON objects, by the key of the plant's publisher.

A signed object is a JSON object of strings with ``kind`` (what it speaks of, so that no object passes for one of another kind),
``key`` (SHA-256 of the raw public key) and ``signature`` (Base64). Signed is everything but the signature itself, as JSON with
sorted keys, without spaces, in UTF-8.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from registry.errors import Broken, NotFound
from registry.folder import Folder, opened
from registry.secrets import kept_secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PUBLIC_FILE: Final = "publisher.pub"
LARGEST: Final = 1 << 20
"""Bytes; a key, a signed object and a card are far smaller."""


@dataclass(frozen=True)
class PublicKey:
    """What a line knows its publisher by."""

    key: "Ed25519PublicKey" = field(repr=False)
    fingerprint: str
    """SHA-256 of the raw key, hexadecimal."""

    @classmethod
    def read(cls, file: Path) -> "PublicKey":
        """The key in a PEM file (``publisher.pub``). Raises ``NotFound``, ``Broken`` where it is none, or none of Ed25519.

        The file may be a link: the line's administrator pins it, often by way of one (as mounted configurations are), and whoever
        could exchange the link could exchange the key. What it leads to has to be a plain file.
        """
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        try:
            key = load_pem_public_key(_pinned(file))
        except (ValueError, UnsupportedAlgorithm) as problem:
            raise Broken(
                f"{file} is no public key in PEM; take the {PUBLIC_FILE} that the plant's administrator gave you"
            ) from problem
        if not isinstance(key, Ed25519PublicKey):
            raise Broken(f"{file} is a key of another kind than Ed25519; take the {PUBLIC_FILE} of the plant")
        return _public(key)


@dataclass(frozen=True)
class Publisher:
    """The publisher of a plant, who signs."""

    key: "Ed25519PrivateKey" = field(repr=False)

    @classmethod
    def of(cls, file: Path) -> "Publisher":
        """The private key in ``file``, made there with mode 0600 where it is missing.

        Raises ``Refused`` where others can read it, ``Broken`` where it is no Ed25519 key.
        """
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        def fresh() -> str:
            return (
                Ed25519PrivateKey.generate()
                .private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                )
                .decode()
            )  # fmt: skip

        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            key = serialization.load_pem_private_key(kept_secret(file, fresh).encode(), None)
        except (ValueError, TypeError) as problem:
            raise Broken(
                f"{file} is no private key in PEM; restore it from the backup, or see 'publisher key' in the manual"
            ) from problem
        if not isinstance(key, Ed25519PrivateKey):
            raise Broken(f"{file} is a key of another kind than Ed25519; restore it from the backup")
        return cls(key)

    @property
    def public(self) -> PublicKey:
        """The key that others check with."""
        return _public(self.key.public_key())

    @property
    def public_pem(self) -> str:
        """The content of ``publisher.pub``."""
        from cryptography.hazmat.primitives import serialization

        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()

    def sign(self, kind: str, content: Mapping[str, str]) -> dict[str, str]:
        """``content`` as a signed object. The same content always gives the same object."""
        signed = {"kind": kind, **content, "key": self.public.fingerprint}
        return signed | {"signature": base64.b64encode(self.key.sign(_canonical(signed))).decode()}


def read_signed(folder: Folder, name: str, kind: str, names: frozenset[str], publisher: PublicKey) -> dict[str, str]:
    """The content of a signed object in the file ``name``: ``names`` and nothing else, signed by ``publisher``.

    Raises ``NotFound``, and ``Broken`` where anything about it does not hold.
    """
    file = folder.path / name
    try:
        found: Any = json.loads(folder.read(name, LARGEST))
    except (ValueError, RecursionError) as problem:
        raise Broken(f"{file} is not readable JSON: it was damaged or changed; publish again") from problem
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise Broken(f"{file} is no object of texts: it was damaged or changed; publish again")
    if "signature" not in found or "key" not in found:
        raise Broken(f"{file} is not signed: only what the plant's publisher signed is used; publish again")
    if found["key"] != publisher.fingerprint:
        raise Broken(
            f"{file} is signed with key {found['key'][:12]!r}, pinned here is {publisher.fingerprint[:12]}: it comes from another"
            f" publisher; find out from whom, and pin another {PUBLIC_FILE} only if the administrator gave it to you"
        )
    signed = {name: value for name, value in found.items() if name != "signature"}
    if not _holds(publisher, found["signature"], signed):
        raise Broken(f"the signature of {file} does not hold: it was changed after it was signed; publish again")
    if found["kind"] != kind or signed.keys() != names | {"kind", "key"}:
        raise Broken(
            f"{file} is signed, but as {found['kind'][:40]!r}, not as {kind!r}: it was put in another's place; publish again"
        )
    return {name: found[name] for name in names}


def _holds(publisher: PublicKey, signature: str, signed: Mapping[str, str]) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        publisher.key.verify(base64.b64decode(signature, validate=True), _canonical(signed))
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return "kind" in signed


def _canonical(content: Mapping[str, str]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def _pinned(file: Path) -> bytes:
    try:
        place = file.resolve(strict=True)
    except (FileNotFoundError, NotADirectoryError) as problem:
        raise NotFound(f"{file} is missing; publish the champion, or name the file that is meant") from problem
    except (OSError, RuntimeError) as problem:  # links in a circle are the latter
        raise Broken(f"{file} cannot be read; name the {PUBLIC_FILE} that the plant's administrator gave you") from problem
    if place.is_dir():
        raise NotFound(f"{file} is a folder; name the {PUBLIC_FILE} in it that the plant's administrator gave you")
    with opened(place.parent) as folder:
        return folder.read(place.name, LARGEST)


def _public(key: "Ed25519PublicKey") -> PublicKey:
    return PublicKey(key, hashlib.sha256(key.public_bytes_raw()).hexdigest())
