"""Versions of a product's model: registering one, listing them, fetching its file."""

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.client.connection import Connection, sha256_of
from registry.client.download import download
from registry.client.training_run import log_model, log_run, model_of_run, run_of
from registry.errors import Broken, NotFound, Refused
from registry.names import (
    CANDIDATE,
    CHAMPION,
    MODEL_FILE,
    PREVIOUS,
    TAG_BATCH,
    TAG_COMMIT,
    TAG_DIGEST,
    TAG_GATES,
    TAG_IMAGES,
    TAG_QA,
    TAG_REQUESTED_BY,
    TAG_THRESHOLD,
    check_batch,
    check_product,
    check_version,
    is_digest,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

MODEL = "model.onnx"


def account() -> str:
    """The operating system's name for the account of this process; its number where it has none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


@dataclass(frozen=True)
class Registration:
    """What becomes a version. The digest of ``folder/model.onnx`` must be ``metrics["model_digest"]``."""

    product: str
    batch: str
    metrics: Mapping[str, Any]
    """report/metrics.json, read."""
    folder: Path
    """Holds model.onnx and the files to attach (report.html, good.png, …); sub-folders come along."""
    commit: str
    """Commit of the plant that made the model."""
    images_digest: str
    """``BatchRecord.digest`` of the batch's good images."""
    requested_by: str = field(default_factory=lambda: f"os:{account()}")
    """Who asked for it: ``os:NAME``, an account of the operating system (by default this process's), or ``user:NAME``."""

    def __post_init__(self) -> None:
        check_product(self.product)
        check_batch(self.batch)
        for key, value in (("product", self.product), ("batch", self.batch)):
            if self.metrics.get(key, value) != value:
                raise Refused(f"metrics speak of {key} {self.metrics[key]!r}, not {value!r}; register each batch with its own")
        if not is_digest(self.metrics.get("model_digest")):
            raise Refused(f"metrics give model_digest {self.metrics.get('model_digest')!r}, which is no sha256; evaluate again")
        if not isinstance(self.metrics.get("passed"), bool):
            raise Refused("metrics do not say whether the gates passed ('passed': true or false); evaluate again")
        if not self.commit.strip() or not self.images_digest.strip():
            raise Refused(f"batch {self.batch} has no commit or no digest of its images; version the batch first")


@dataclass(frozen=True)
class Version:
    """A registered version as it stood when it was read."""

    product: str
    version: str
    batch: str
    digest: str
    images: str
    commit: str
    gates: str
    """``passed`` or ``failed``."""
    qa: str
    """``pending``, ``approved`` or ``rejected``; whether an approval holds says ``sign_off.status``."""
    aliases: tuple[str, ...]
    threshold: float | None
    created: datetime
    run_id: str
    model_id: str
    tags: Mapping[str, str]


def register(connection: Connection, request: Registration) -> Version:
    """Registers the model of a batch, as the trainer; once, however often it is called.

    The version appears in one step, with all its tags, after everything else is stored: a call that dies half-way leaves
    no version, and the next one goes on with the same run. A model whose gates passed becomes the product's candidate.
    Raises ``Broken`` where model.onnx is not the file that was measured, ``Refused``, ``Unreachable``.
    """
    model = request.folder / MODEL
    if not model.is_file():
        raise NotFound(f"{model} is missing: a version is made from the exported inspector; run the stage evaluate")
    digest, measured = sha256_of(model), request.metrics["model_digest"]
    if digest != measured:
        raise Broken(f"{model} has digest {digest[:12]}, but {measured[:12]} was measured; run the stage evaluate again")
    with connection.client() as client:
        found = _registered(client, request, digest) or _create(client, request, digest)
        if found.gates == "passed" and found.qa == "pending" and not found.aliases:
            newest = max(int(one.version) for one in _versions(client, request.product))
            if int(found.version) == newest:
                client.set_registered_model_alias(request.product, CANDIDATE, found.version)
    return version_of(connection, request.product, found.version)


def _create(client: "MlflowClient", request: Registration, digest: str) -> Version:
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    try:
        _store(client, request, digest)
    except (MlflowException, RequestException):
        # Where another caller was first, its version closed the run, and the server refuses a second one.
        found = _registered(client, request, digest)
        if found is None:
            raise
        return found
    found = _registered(client, request, digest)
    if found is None:
        raise Broken(f"the registry took a version of {request.product} and does not show it; look into its log")
    return found


def _store(client: "MlflowClient", request: Registration, digest: str) -> None:
    """The run, its files, the logged model, and last the version."""
    from mlflow.exceptions import MlflowException

    key, name = f"{digest}/{request.batch}", f"{request.product}/{request.batch}"
    run = run_of(client, request.product, key, name, {TAG_BATCH: request.batch})
    log_run(client, run, request.metrics, request.folder)
    model_id = model_of_run(client, run) or log_model(client, run, request.folder / MODEL)
    client.set_terminated(run.info.run_id)
    tags = {
        TAG_BATCH: request.batch,
        TAG_DIGEST: digest,
        TAG_IMAGES: request.images_digest,
        TAG_COMMIT: request.commit,
        TAG_GATES: "passed" if request.metrics["passed"] else "failed",
        TAG_QA: "pending",
        TAG_REQUESTED_BY: request.requested_by,
    }
    try:
        client.create_registered_model(request.product)
    except MlflowException as problem:
        if problem.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    client.create_model_version(
        request.product,
        source=f"models:/{model_id}",
        run_id=run.info.run_id,
        tags=tags,
        model_id=model_id,
        await_creation_for=0,
    )


def _registered(client: "MlflowClient", request: Registration, digest: str) -> Version | None:
    for one in _versions(client, request.product):
        if (one.digest, one.batch) == (digest, request.batch):
            return one
    return None


def versions(connection: Connection, product: str) -> list[Version]:
    """All versions of ``product``, newest first; empty where there is none."""
    check_product(product)
    with connection.client() as client:
        return _versions(client, product)


def version_of(connection: Connection, product: str, version: str | int) -> Version:
    """One version; raises ``NotFound``."""
    number = check_version(version)
    for one in versions(connection, product):
        if one.version == number:
            return one
    raise NotFound(f"{product} has no version {number}; look at its history for those that exist")


def champion(connection: Connection, product: str) -> Version | None:
    """The version that the line uses; None before the first promotion."""
    return _holder(connection, product, CHAMPION)


def candidate(connection: Connection, product: str) -> Version | None:
    """The version that waits for sign-off or promotion; None where none does."""
    return _holder(connection, product, CANDIDATE)


def to_decide(known: list[Version]) -> Version | None:
    """Of a product's versions, newest first, the one that somebody has to see to: the candidate, else the newest that waits for a
    signature with its gates passed, unless the champion is newer."""
    for one in known:
        if CANDIDATE in one.aliases:
            return one
    newest = next((one for one in known if (one.qa, one.gates) == ("pending", "passed") or CHAMPION in one.aliases), None)
    return None if newest is None or CHAMPION in newest.aliases else newest


def previous(connection: Connection, product: str) -> Version | None:
    """The champion before the present one; None where there is none."""
    return _holder(connection, product, PREVIOUS)


def _holder(connection: Connection, product: str, alias: str) -> Version | None:
    return next((one for one in versions(connection, product) if alias in one.aliases), None)


def download_model(connection: Connection, product: str, version: str | int, target: Path) -> Path:
    """Fetches the model file of a version to the file ``target``, whole or not at all.

    Raises ``Broken`` where its sha256 is not the version's ``changeover.digest``.
    """
    record = version_of(connection, product, version)
    return download(connection, record.product, record.version, MODEL_FILE, record.digest, target)


def _versions(client: "MlflowClient", product: str) -> list[Version]:
    found = search_versions(client, f"name = '{product}'")
    if not found:
        return []
    holders = client.get_registered_model(product).aliases
    made = [_version(one, holders) for one in found]
    return sorted(made, key=lambda one: int(one.version), reverse=True)


def search_versions(client: "MlflowClient", query: str) -> list[Any]:
    """All of MLflow's versions that ``query`` finds, over every page of the answer."""
    token, found = None, []
    while True:
        page = client.search_model_versions(query, max_results=1000, page_token=token)
        found += list(page)
        token = page.token
        if not token:
            return found


def _version(found: Any, holders: Mapping[str, str]) -> Version:
    tags, number = dict(found.tags), str(found.version)
    try:
        threshold = float(tags[TAG_THRESHOLD])
    except (KeyError, ValueError):
        threshold = None
    return Version(
        product=found.name,
        version=number,
        batch=tags.get(TAG_BATCH, ""),
        digest=tags.get(TAG_DIGEST, ""),
        images=tags.get(TAG_IMAGES, ""),
        commit=tags.get(TAG_COMMIT, ""),
        gates=tags.get(TAG_GATES, ""),
        qa=tags.get(TAG_QA, "pending"),
        aliases=tuple(sorted(alias for alias, holder in holders.items() if str(holder) == number)),
        threshold=threshold,
        created=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
        run_id=found.run_id or "",
        model_id=str(found.source).removeprefix("models:/"),
        tags=tags,
    )
