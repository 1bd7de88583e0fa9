"""Publishing: the champion's file in a folder that the line reads.

<target>/<product>/current.json                       which version the line loads
<target>/<product>/<version>-<digest8>/model.onnx     the inspector
                                       card.json      what it is, who signed it and when
                                       sha256         "<digest>  model.onnx", for sha256sum --check
"""

import json
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from registry.connection import Connection, sha256_of
from registry.errors import Broken, Refused
from registry.names import CHAMPION
from registry.sign_off import SignOff, status_of
from registry.versions import MODEL, Version, download_model, version_of

_INCOMING = ".incoming-"
_STALE_SECONDS = 3600.0


def publish(connection: Connection, product: str, version: str | int, target: Path) -> Path:
    """Writes the champion of ``product`` under ``target`` and points ``current.json`` at it; the version's folder.

    Everything appears whole or not at all, and a repeated call changes nothing. Raises ``Refused`` where ``version`` is
    not the champion or its sign-off does not hold, ``Broken`` where the published folder holds something else.
    """
    record = version_of(connection, product, version)
    if CHAMPION not in record.aliases:
        raise Refused(f"{product} version {record.version} is not the champion: only what was promoted is published; promote it")
    signed = status_of(connection, record)
    if not signed.valid:
        raise Refused(f"{product} version {record.version} cannot be published: {signed.problem}")
    place = target / product
    place.mkdir(parents=True, exist_ok=True)
    folder = place / f"{record.version}-{record.digest[:8]}"
    _sweep(place)
    if not folder.exists():
        _write_folder(connection, record, signed, folder)
    _check_folder(folder, record)
    pointer = {"product": product, "version": record.version, "folder": folder.name, "digest": record.digest}
    _replace(place / "current.json", _text(pointer))
    return folder


def _write_folder(connection: Connection, record: Version, signed: SignOff, folder: Path) -> None:
    fresh = folder.with_name(f"{_INCOMING}{folder.name}-{secrets.token_hex(4)}")
    fresh.mkdir()
    try:
        download_model(connection, record.product, record.version, fresh / MODEL)
        _write(fresh / "card.json", _text(_card(connection, record, signed)))
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
