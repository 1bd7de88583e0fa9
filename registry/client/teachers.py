"""Teachers: versions of the registered models ``teacher-<name>``, each a file of weights and the card that comes with it.

A teacher is never signed and holds no alias, because no line uses it: what is signed is what was trained with it.
"""

import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from registry.client.connection import Connection, sha256_of
from registry.client.download import download
from registry.client.teacher_card import CARD, Card, describe, read_card
from registry.client.training_run import log_folder, model_of_run, run_of
from registry.client.versions import search_versions
from registry.errors import Broken, NotFound, Refused
from registry.names import (
    TAG_CARD,
    TAG_DIGEST,
    TAG_LICENCE,
    TAG_NETWORK,
    TAG_ORIGIN,
    TAG_SOURCE,
    TEACHER,
    check_version,
    is_teacher,
)
from registry.rules.registration_rules import LONGEST_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient

WEIGHTS: Final = "teacher.safetensors"


@dataclass(frozen=True)
class TeacherVersion:
    """A teacher as it was registered. Texts are those of its card, in one line and at most 500 characters each."""

    name: str
    """As on the card; ``model`` is what the registry calls it."""
    version: str
    digest: str
    """sha256 of ``teacher.safetensors``."""
    card: str
    """sha256 of ``teacher.json``."""
    source: str
    """``imported``, ``pulled``, ``self-supervised``, ``pseudo-defects`` or ``distilled``."""
    licence: str
    origin: str
    network: str
    """The network's name, or ``patch networks``."""
    created: datetime
    run_id: str
    model_id: str

    @property
    def model(self) -> str:
        """Name of the registered model."""
        return f"{TEACHER}{self.name}"


def register_teacher(connection: Connection, folder: Path) -> TeacherVersion:
    """Registers the teacher in ``folder`` (``teacher.safetensors`` and ``teacher.json``), as the trainer; once for a digest.

    The version appears in one step, after everything else is stored: a call that dies half-way leaves no version, and the next
    one goes on with the same run. Raises ``NotFound`` where a file is missing, ``Refused`` where the card is none, or the weights
    are not in safetensors or were registered under the same name with another licence or network, ``Broken`` where the weights
    are not those of the card, ``Unreachable``.
    """
    if not (folder / WEIGHTS).is_file():
        raise NotFound(f"{folder / WEIGHTS} is missing: a teacher is its weights and its card; import, pull or train it")
    with tempfile.TemporaryDirectory() as scratch:
        staged = Path(scratch)
        # What is checked is what is stored, whatever happens to the folder meanwhile.
        for name in (WEIGHTS, CARD):
            if (folder / name).is_file():
                shutil.copyfile(folder / name, staged / name)
        card = read_card(staged / CARD)
        _check_weights(staged / WEIGHTS, card)
        with connection.client() as client:
            return _registered(client, card) or _create(client, card, staged)


def _check_weights(weights: Path, card: Card) -> None:
    from safetensors import SafetensorError, safe_open

    digest = sha256_of(weights)
    if digest != card.digest:
        raise Broken(
            f"{WEIGHTS} has digest {digest[:12]}, its card says {card.digest[:12]}; import, pull or train the teacher again"
        )
    try:
        with safe_open(weights, framework="numpy"):
            pass
    except SafetensorError as problem:
        raise Refused(
            f"{WEIGHTS} is not in the format safetensors ({str(problem)[:100]}); import it, which converts it"
        ) from problem


def _create(client: "MlflowClient", card: Card, staged: Path) -> TeacherVersion:
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    try:
        _store(client, card, staged)
    except (MlflowException, RequestException):
        # Where another caller was first, its version closed the run, and the server refuses a second one.
        found = _registered(client, card)
        if found is None:
            raise
        return found
    found = _registered(client, card)
    if found is None:
        raise Broken(f"the registry took a version of {TEACHER}{card.name} and does not show it; look into its log")
    return found


def _store(client: "MlflowClient", card: Card, staged: Path) -> None:
    """The run, the logged model with both files, and last the version."""
    from mlflow.exceptions import MlflowException

    model, tags = f"{TEACHER}{card.name}", _tags(card, sha256_of(staged / CARD))
    # Of both files: a call that died with another card left another logged model.
    key = f"{card.digest}/{tags[TAG_CARD]}"
    run = run_of(client, model, key, f"{model}/{card.digest[:12]}", {})
    model_id = model_of_run(client, run) or log_folder(client, run, "teacher", staged)
    client.set_terminated(run.info.run_id)
    try:
        client.create_registered_model(model)
    except MlflowException as problem:
        if problem.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    client.create_model_version(
        model,
        source=f"models:/{model_id}",
        run_id=run.info.run_id,
        tags=tags,
        description=describe(card),
        model_id=model_id,
        await_creation_for=0,
    )


def _tags(card: Card, digest: str) -> dict[str, str]:
    texts = {TAG_SOURCE: card.source, TAG_LICENCE: card.licence, TAG_ORIGIN: card.origin, TAG_NETWORK: card.network}
    short = {key: text if len(text) <= LONGEST_TAG else f"{text[: LONGEST_TAG - 1]}…" for key, text in texts.items()}
    return {TAG_DIGEST: card.digest, TAG_CARD: digest, **short}


def _registered(client: "MlflowClient", card: Card) -> TeacherVersion | None:
    """The version with these weights; ``Refused`` where its record says something else of what they are or may be used for."""
    wanted = _tags(card, "")
    for one in _teachers(client, f"name = '{TEACHER}{card.name}'"):
        if one.digest != card.digest:
            continue
        for what, then, now in (("licence", one.licence, wanted[TAG_LICENCE]), ("network", one.network, wanted[TAG_NETWORK])):
            if then != now:
                raise Refused(
                    f"{one.model} version {one.version} holds these weights with {what} {then[:80]!r},"
                    f" the card says {now[:80]!r}: a record is written once; register the teacher under another name"
                )
        return one
    return None


def teachers(connection: Connection) -> list[TeacherVersion]:
    """Every version of every teacher: by name, and of each the newest first."""
    with connection.client() as client:
        return _teachers(client, f"name LIKE '{TEACHER}%'")


def teacher_of(connection: Connection, name: str, version: str | int | None = None) -> TeacherVersion:
    """A version of the teacher ``name`` (as on its card), by default the newest. Raises ``NotFound``."""
    number = None if version is None else check_version(version)
    known = teachers(connection)
    for one in known:
        if one.name == name and number in (None, one.version):
            return one
    there = ", ".join(f"{one.name} {one.version}" for one in known[:20]) or "none"
    wanted = f"{name[:80]!r}" if number is None else f"{name[:80]!r}, version {number},"
    raise NotFound(f"no teacher {wanted} is registered: there is {there}; choose one of them, or import, pull or train it")


def download_teacher(connection: Connection, teacher: TeacherVersion, target: Path) -> Path:
    """Fetches weights and card of ``teacher`` into the folder ``target``, each whole or not at all, the card last; the folder.

    Raises ``Broken`` where a file is not the one that was registered, or the card is none or speaks of another teacher.
    """
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".incoming-", dir=target) as scratch:
        card = download(connection, teacher.model, teacher.version, CARD, teacher.card, Path(scratch) / CARD)
        try:
            read = read_card(card)
            same = (read.name, read.digest) == (teacher.name, teacher.digest)
        except Refused:
            same = False
        if not same:
            raise Broken(
                f"the card of {teacher.model} version {teacher.version} is not that of its weights: it was registered past the"
                " check; do not use it, import, pull or train the teacher again"
            )
        download(connection, teacher.model, teacher.version, WEIGHTS, teacher.digest, target / WEIGHTS)
        card.replace(target / CARD)
    return target


def _teachers(client: "MlflowClient", query: str) -> list[TeacherVersion]:
    found = [_teacher(one) for one in search_versions(client, query) if is_teacher(one.name)]
    return sorted(found, key=lambda one: (one.name, -int(one.version)))


def _teacher(found: Any) -> TeacherVersion:
    tags = found.tags
    return TeacherVersion(
        name=found.name.removeprefix(TEACHER),
        version=str(found.version),
        digest=tags.get(TAG_DIGEST, ""),
        card=tags.get(TAG_CARD, ""),
        source=tags.get(TAG_SOURCE, ""),
        licence=tags.get(TAG_LICENCE, ""),
        origin=tags.get(TAG_ORIGIN, ""),
        network=tags.get(TAG_NETWORK, ""),
        created=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
        run_id=found.run_id or "",
        model_id=str(found.source).removeprefix("models:/"),
    )
