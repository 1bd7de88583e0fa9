"""Publishing: the champion's file in a folder that the line reads.

<target>/<product>/current.json                       which version the line loads; signed
                   publisher.pub                      the key to check with; a line pins it once and never takes it from here
<target>/<product>/<version>-<digest8>/model.onnx     the inspector
                                       card.json      what it is, who signed it and when
                                       signature.json binds product and version to the digests of both
                                       sha256         "<digest>  model.onnx", for sha256sum --check

Others may be able to write there. So what is signed is made in memory and never read from there, and what lies there is
compared with it before the pointer is set. The target itself may be a link; below it none is followed.
"""

import errno
import hashlib
import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from registry.client import pointer
from registry.client.connection import Connection
from registry.client.download import fetch
from registry.client.sign_off import SignOff, status_of
from registry.client.versions import Version, version_of
from registry.errors import Broken, NotFound, Refused, RegistryError
from registry.folder import INCOMING, Folder, incoming_name, opened
from registry.line import CARD, LARGEST_MODEL, MODEL, MODEL_KIND, POINTER, SIGNATURE, check_folder, folder_name, pointer_in
from registry.names import CHAMPION, MODEL_FILE, STAMPS, TAG_QA, TAG_REQUESTED_BY, check_product
from registry.signature import PUBLIC_FILE, Publisher

_STALE_SECONDS: Final = 3600.0


@dataclass(frozen=True)
class _Made:
    """What a version's published folder has to hold. ``files`` are all but the model, as they were made in memory."""

    name: str
    digest: str
    files: Mapping[str, bytes]


def publish(connection: Connection, product: str, version: str | int, target: Path) -> Path:
    """Writes the champion of ``product`` under ``target``, signed, and points ``current.json`` at it; the version's folder.

    Everything appears whole or not at all, and a repeated call changes nothing. A card or signature that is not what this makes
    (changed, missing, of a former key) is written anew. Raises ``Refused`` where ``version`` is not the champion, its sign-off
    does not hold or the connection has no key to sign with; ``Broken`` where the published folder holds another model or is no
    folder, cannot be written, or is changed by somebody meanwhile.
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
    with _product_folder(target, product) as place:
        _sweep(place)
        made = _make(connection, record, signed, publisher)
        if made.name not in place.names():
            _write_folder(connection, record, place, made)
        _repair(place, made)
        place.replace(PUBLIC_FILE, publisher.public_pem.encode())
        pointer.point(place, publisher, record.product, record.version, record.digest)
        _check_sign_off(connection, record, place, publisher)
    return target / product / made.name


def retract(product: str, target: Path) -> bool:
    """Takes away the pointer to the model of ``product``, which has no champion any more; whether there was one.

    The version's folder stays, for the record; a line that finds no pointer inspects nothing. Raises ``Broken`` where it could
    not be taken away.
    """
    return pointer.retract(product, target)


def take_off_line(
    product: str, target: Path, successor: tuple[str, str] | None, publisher_key: Path
) -> Literal["pointed", "retracted", "nothing"]:
    """Sees to it that lines do not go on with a version that is champion no longer. For the server, in the step that demotes it.

    Call it after the alias has moved: a ``publish`` that runs meanwhile looks at the alias once more when it has set the pointer.
    ``successor``: version and digest of the champion now. Where that was published and checks out with our own key, the
    pointer is set to it ("pointed"); otherwise, and in any doubt, the pointer goes ("retracted", or "nothing" where there was
    none). May be repeated. Raises ``Broken`` only where the pointer could not be taken away.
    """
    if successor is not None and _points_at(check_product(product), target, *successor, publisher_key):
        return "pointed"
    return "retracted" if pointer.retract(product, target) else "nothing"


def _points_at(product: str, target: Path, version: str, digest: str, publisher_key: Path) -> bool:
    try:
        if not publisher_key.is_file():  # one that is made now has signed nothing
            return False
        publisher = Publisher.of(publisher_key)
        with opened(target / product) as place:
            check_folder(place, version, digest, product, publisher.public, folder_name(version, digest))
            pointer.point(place, publisher, product, version, digest)
    except (RegistryError, OSError, ValueError):
        return False
    return True


def _make(connection: Connection, record: Version, signed: SignOff, publisher: Publisher) -> _Made:
    card = pointer.text(_card(connection, record, signed))
    content = {
        "product": record.product,
        "version": record.version,
        "model": record.digest,
        "card": hashlib.sha256(card).hexdigest(),
    }
    files = {
        CARD: card,
        SIGNATURE: pointer.text(publisher.sign(MODEL_KIND, content)),
        "sha256": f"{record.digest}  {MODEL}\n".encode(),
    }
    return _Made(folder_name(record.version, record.digest), record.digest, files)


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
        "requested_by": record.tags.get(TAG_REQUESTED_BY, ""),
        "signed": {
            "by": signed.by,
            "name": signed.name,
            "at": signed.at,
            "meaning": signed.meaning,
            "way": signed.way,
            "reason": signed.reason,
        },
        "metrics": dict(sorted(run.data.metrics.items())),
    }


def _write_folder(connection: Connection, record: Version, place: Folder, made: _Made) -> None:
    name = incoming_name()
    os.mkdir(name, 0o700, dir_fd=place.handle)
    try:
        with opened(place.path / name, place) as fresh:
            _check_own(fresh)
            with fresh.fresh(MODEL) as stream:
                fetch(connection, record.product, record.version, MODEL_FILE, record.digest, stream.write)
            for file, content in made.files.items():
                with fresh.fresh(file) as stream:
                    stream.write(content)
            for foreign in fresh.names() - {MODEL, *made.files}:
                fresh.remove(foreign)
            _compare(fresh, made)
            fresh.sync()
            try:
                os.rename(name, made.name, src_dir_fd=place.handle, dst_dir_fd=place.handle)
            except OSError as problem:
                if problem.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
                # Another publisher was first: its folder is checked like ours.
        place.sync()
    finally:
        with suppress(OSError):
            place.remove(name)


def _check_own(fresh: Folder) -> None:
    """Between its making and its opening somebody could have put another folder in its place."""
    facts = os.fstat(fresh.handle)
    if facts.st_uid != os.geteuid() or stat.S_IMODE(facts.st_mode) & 0o077 or fresh.names():
        raise Broken(
            f"{fresh.path} is not the folder that was made there just now: somebody exchanged it; find out who can write to"
            f" {fresh.path.parent}, and publish again"
        )


def _repair(place: Folder, made: _Made) -> None:
    """Writes anew what of a version's folder is not as it was made, and compares all of it."""
    with opened(place.path / made.name, place) as folder:
        for file, content in made.files.items():
            folder.replace(file, content)
        _compare(folder, made)
        if stat.S_IMODE(os.fstat(folder.handle).st_mode) & 0o055 != 0o055:
            os.fchmod(folder.handle, 0o755)  # lines run as other users


def _compare(folder: Folder, made: _Made) -> None:
    """Raises ``Broken`` where ``folder`` does not hold what was made."""
    try:
        digest = folder.digest(MODEL, LARGEST_MODEL)
    except NotFound:
        digest = "none"
    if digest != made.digest:
        raise Broken(
            f"{folder.path / MODEL} has digest {digest[:12]}, published was {made.digest[:12]}: somebody changed it;"
            f" remove {folder.path.name} and publish again"
        )
    for file, content in made.files.items():
        if folder.read(file, len(content)) != content:
            raise Broken(
                f"{folder.path / file} is not what was signed: somebody exchanged it while it was published; find out who can"
                f" write to {folder.path.parent}, and publish again"
            )


def _check_sign_off(connection: Connection, record: Version, place: Folder, publisher: Publisher) -> None:
    """A decision of quality assurance that came meanwhile took the former pointer away, not the one that was set after it."""
    now = version_of(connection, record.product, record.version)
    if CHAMPION in now.aliases and all(now.tags.get(key) == record.tags.get(key) for key in (TAG_QA, *STAMPS)):
        return
    with suppress(NotFound, Broken):
        if pointer_in(place, record.product, publisher.public)["version"] != record.version:
            return
    place.remove(POINTER)
    raise Refused(f"{record.product} version {record.version} lost its sign-off while it was published; it is off the line again")


def _sweep(place: Folder) -> None:
    """Removes what a publisher that died left behind."""
    for name in place.names():
        with suppress(OSError):
            if name.startswith(INCOMING) and time.time() - os.lstat(name, dir_fd=place.handle).st_mtime > _STALE_SECONDS:
                place.remove(name)


@contextmanager
def _product_folder(target: Path, product: str) -> Iterator[Folder]:
    path = target / product
    try:
        with suppress(FileExistsError):  # whatever it is: opening it tells
            path.mkdir(parents=True, exist_ok=True)
        with opened(path) as place:
            yield place
    except OSError as problem:
        raise Broken(
            f"{path} cannot be published to ({problem.strerror or problem}); give this user access, see that there is room, and"
            " publish again"
        ) from problem
