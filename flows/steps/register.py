"""The step register: what a batch made becomes a version in the registry, and its place on the registry's pages."""

from dataclasses import dataclass

from flows.plant import Plant
from flows.requester import Requester, proved
from flows.serving.servers import address
from flows.serving.services import connect_as
from flows.steps.decide import Decided
from flows.steps.fetch import fetch_metrics
from flows.steps.job import Job
from flows.steps.record_file import metrics_of
from models.evaluation.metrics_file import Metrics
from registry.client.record import record, recorded
from registry.client.versions import Registration, Version
from registry.client.versions import register as register_version


@dataclass(frozen=True)
class Registered:
    """A version that is on record; ``url`` is the page to sign at."""

    version: str
    url: str
    passed: bool
    reason: str


def register(job: Job, commit: str, requester: Requester) -> Registered:
    """Register the batch's model, made by ``commit`` of the plant, for who asked. The same model of the same batch gives the
    same version."""
    metrics = metrics_of(job.folder, "delete it and run again")
    connection = connect_as(job.plant, "trainer")
    request = Registration(
        product=job.product,
        batch=job.batch,
        metrics=metrics.as_json(),
        folder=job.folder.file("report"),
        commit=commit,
        images_digest=job.folder.read_record().digest,
        requested_by=proved(connection, requester, job.product, job.batch),
    )
    version = register_version(connection, request)
    passed = version.gates == "passed"
    return Registered(version.version, page_of(job.plant, job.product, version.version), passed, _reason(metrics))


def as_registered(job: Job, version: Version) -> Registered:
    """What ``register`` gave for ``version`` then, from the registry alone."""
    metrics = fetch_metrics(connect_as(job.plant, "trainer"), version)
    url = page_of(job.plant, job.product, version.version)
    return Registered(version.version, url, version.gates == "passed", _reason(metrics))


def record_keep(job: Job, decided: Decided) -> None:
    """An event in the audit trail: this batch keeps the champion. Once a batch and champion, however often it is called."""
    connection = connect_as(job.plant, "trainer")
    subject = f"{job.batch} {job.folder.read_record().digest[:12]}"
    known = recorded(connection, job.product)
    version = decided.champion or ""
    if not any((event.action, event.subject, event.version) == ("keep", subject, version) for event in known):
        record(connection, "keep", job.product, version=version, subject=subject, reason=decided.reason)


def page_of(plant: Plant, product: str, version: str) -> str:
    """The address of a version's review page, where QA signs. ServerError if the server is not up."""
    return f"{address(plant, 'mlflow')}/changeover/review?product={product}&version={version}"


def _reason(metrics: Metrics) -> str:
    failed = [gate.text for gate in metrics.gates if not gate.passed]
    if failed:
        return "failed: " + "; ".join(failed)
    overkill, escape = metrics.overkill, metrics.escape
    return (
        f"passed all {len(metrics.gates)} gates: {overkill.count} of {overkill.n} good images rejected, "
        f"{escape.count} of {escape.n} held-out pseudo-defects passed"
    )
