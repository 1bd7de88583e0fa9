"""Publishing: the champion's file in a folder that the line reads.

<target>/<product>/current.json                       which version the line loads; signed
                   publisher.pub                      the key to check with; a line pins it once and never takes it from here
<target>/<product>/<version>-<digest8>/model.onnx     the inspector
                                       card.json      what it is, who signed it and when
                                       signature.json binds product and version to the digests of both
                                       sha256         "<digest>  model.onnx", for sha256sum --check
"""

import json
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from registry.connection import Connection, sha256_of
from registry.errors import Broken, NotFound, Refused
from registry.line import (
    CARD,
    MODEL_KIND,
    POINTER,
    POINTER_KIND,
    POINTER_NAMES,
    SIGNATURE,
    read_folder,
)
from registry.names import CHAMPION
from registry.sign_off import SignOff, status_of
from registry.signature import PUBLIC_FILE, Publisher, read_signed
from registry.versions import MODEL, Version, download_model, version_of

_INCOMING = ".incoming-"
_STALE_SECONDS = 3600.0


def publish(connection: Connection, product: str, version: str | int, target: Path) -> Path:
    """Writes the champion of ``product`` under ``target``, signed, and points ``current.json`` at it; the version's folder.

    Everything appears whole or not at all, and a repeated call changes nothing. A folder without a signature, or with one of a
    former key, is signed again. Raises ``Refused`` where ``version`` is not the champion, its sign-off does not hold or the
    connection has no key to sign with, ``Broken`` where the published folder holds something else.
    """
    if connection.publisher_key is None:
        raise Refused(
            f"user '{connection.user}' has no key to sign with: only the plant's promoter publishes; promote as that service"
        )
    record = version_of(connection, product, version)
    if CHAMPION not in record.aliases:
        raise Refused(f"{product} version {record.version} is not the champion: only what was promoted is published; promote it")
    signed = status_of(connection, record)
    if not signed.valid:
        raise Refused(f"{product} version {record.version} cannot be published: {signed.problem}")
    publisher = Publisher.of(connection.publisher_key)
    place = target / product
    place.mkdir(parents=True, exist_ok=True)
    folder = place / f"{record.version}-{record.digest[:8]}"
    _sweep(place)
    if not folder.exists():
        _write_folder(connection, record, signed, publisher, folder)
    _check_folder(folder, record)
    if _signed_by(folder / SIGNATURE) != publisher.public.fingerprint:
        _replace(folder / CARD, _text(_card(connection, record, signed)))
        _replace(folder / SIGNATURE, _text(_signature(publisher, record, folder / CARD)))
    read_folder(place, record.version, record.digest, product, publisher.public, folder.name)
    _replace(place / PUBLIC_FILE, publisher.public_pem)
    _point(place, publisher, {"product": product, "version": record.version, "folder": folder.name, "digest": record.digest})
    return folder


def retract(product: str, target: Path) -> bool:
    """Takes away the pointer to the model of ``product``, which has no champion any more; whether there was one.

    The version's folder stays, for the record; a line that finds no pointer inspects nothing.
    """
    pointer = target / product / POINTER
    there = pointer.exists()
    pointer.unlink(missing_ok=True)
    if there:
        _sync(pointer.parent)
    return there


def _point(place: Path, publisher: Publisher, wanted: Mapping[str, str]) -> None:
    """Makes ``current.json`` point at what is wanted; one that does so already keeps its time."""
    try:
        now = read_signed(place / POINTER, POINTER_KIND, POINTER_NAMES, publisher.public)
        if wanted.items() <= now.items():
            return
    except (NotFound, Broken):
        pass  # the first one, one without a signature, or one of a former key
    at = datetime.now(UTC).isoformat(timespec="seconds")
    _replace(place / POINTER, _text(publisher.sign(POINTER_KIND, {**wanted, "at": at})))


def _signature(publisher: Publisher, record: Version, card: Path) -> dict[str, str]:
    content = {"product": record.product, "version": record.version, "model": record.digest, "card": sha256_of(card)}
    return publisher.sign(MODEL_KIND, content)


def _signed_by(file: Path) -> str | None:
    """The key that a signature names, whether or not it holds; None where there is no signature."""
    try:
        key = json.loads(file.read_text(encoding="utf-8"))["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return key if isinstance(key, str) else None


def _write_folder(connection: Connection, record: Version, signed: SignOff, publisher: Publisher, folder: Path) -> None:
    fresh = folder.with_name(f"{_INCOMING}{folder.name}-{secrets.token_hex(4)}")
    fresh.mkdir()
    try:
        download_model(connection, record.product, record.version, fresh / MODEL)
        _write(fresh / CARD, _text(_card(connection, record, signed)))
        _write(fresh / SIGNATURE, _text(_signature(publisher, record, fresh / CARD)))
        _write(fresh / "sha256", f"{record.digest}  {MODEL}\n")
        _sync(fresh)
        try:
            fresh.rename(folder)
        except OSError:
            if not folder.is_dir():  # another publisher was first: its folder is checked like ours
                raise
        _sync(folder.parent)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _card(connection: Connection, record: Version, signed: SignOff) -> dict[str, Any]:
    with connection.client() as client:
        run = client.get_run(record.run_id)
    return {
        "product": record.product,
        "version": record.version,
        "batch": record.batch,
        "digest": record.digest,
        "images_digest": record.images,
        "commit": record.commit,
        "threshold": record.threshold,
        "signed": {"by": signed.by, "at": signed.at, "reason": signed.reason},
        "metrics": dict(sorted(run.data.metrics.items())),
    }


def _check_folder(folder: Path, record: Version) -> None:
    model = folder / MODEL
    digest = sha256_of(model) if model.is_file() else "none"
    if digest != record.digest:
        raise Broken(
            f"{model} has digest {digest[:12]}, published was {record.digest[:12]}: somebody changed it;"
            f" remove {folder.name} and publish again"
        )


def _sweep(place: Path) -> None:
    """Removes what a publisher that died left behind."""
    for left in place.glob(f"{_INCOMING}*"):
        if time.time() - left.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(left, ignore_errors=True)


def _text(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _replace(path: Path, text: str) -> None:
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    fresh = path.with_name(f"{_INCOMING}{path.name}-{secrets.token_hex(4)}")
    try:
        _write(fresh, text)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    _sync(path.parent)


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Makes a folder's entries survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
