"""The changeover: from a folder of good images to a candidate, step by step, as a Prefect flow.

Each task is a thin skin over a function that is repeatable: killed anywhere and run again, the flow goes on where it was,
and an unchanged batch gives the same version again.
"""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from prefect import Task, flow, get_run_logger
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from data.ingest import ingest
from data.lost import fetch_lost
from data.store import probe_store, push
from data.version import commit_files, version_batch
from flows.config import Product
from flows.outcome import Outcome
from flows.requester import Requester
from flows.serving.janitor import clean_up
from flows.serving.locks import batch_lock, host_lock
from flows.serving.orchestration import own_plant
from flows.serving.run_record import RunRecord
from flows.serving.servers import address
from flows.serving.services import connect_as
from flows.stages import repro, when_free
from flows.steps.batch_name import scheduled_batch
from flows.steps.decide import Decided, decide
from flows.steps.job import Job, lay_out, make_job
from flows.steps.register import Registered, as_registered, record_keep, register
from flows.steps.trained_before import lay_again, trained_before
from registry.client.versions import Version
from registry.errors import Unreachable
from registry.printable import printable

Result = TypeVar("Result")
Words = str


@flow(name="changeover", flow_run_name="{product} {batch}", validate_parameters=False, persist_result=False)
def changeover(
    plant: str,
    product: str = "",
    batch: str | None = None,
    images: str | None = None,
    preset: str | None = None,
    budget: str | None = None,
    seed: int = 1,
    warm_start: str | None = None,
    requested_by: str = "",
    request_event: str = "",
) -> Outcome:
    """One changeover. Where ``batch`` is left away, the scheduled time names it; the rest falls back on ``changeover.yaml``.

    ``requested_by`` and ``request_event`` claim who asked (see ``flows.requester``); without them this process's account did.
    """
    begin = time.monotonic()
    place = own_plant(plant)
    address(place, "mlflow")
    cron = place.config.products.get(product, Product()).cron
    batch = batch or scheduled_batch(flow_run.get_scheduled_start_time(), cron or "")
    job = make_job(place, product, batch, images, preset, budget, seed, warm_start)
    requester = Requester.of_parameters(requested_by, request_event)
    clean_up(place)
    record = RunRecord(place, product, batch, flow_run.get_id())
    try:
        with batch_lock(place, product, batch, record.note):
            record.note("")
            # Once more, now that nobody else is at this batch: a run that was killed while we waited left its stage behind.
            clean_up(place)
            return _steps(job, record, begin, requester)
    finally:
        record.close()


def _steps(job: Job, record: RunRecord, begin: float, requester: Requester) -> Outcome:
    _step(record, "ingest", lambda: _ingest(job, record))
    _stage(job, record, "validate")
    _step(record, "version", lambda: _version(job))
    decided, before = _step(record, "decide", lambda: _decide(job))
    if before is not None:
        for stage in ("regenerate", "tune", "train", "evaluate"):
            _step(record, stage, lambda: (None, f"up to date: version {before.version} was made so"))
        return _outcome(job, _step(record, "register", lambda: _register_again(job, requester, before)), begin)
    if decided.action == "keep":
        _commit(job, f"Keep the champion for {job.product} {job.batch}")
        record_keep(job, decided)
        spent = time.monotonic() - begin
        return Outcome("kept", job.product, job.batch, decided.champion, None, None, decided.reason, spent)
    for stage in ("regenerate", "tune", "train", "evaluate"):
        _stage(job, record, stage)
    return _outcome(job, _step(record, "register", lambda: _register(job, requester)), begin)


def _outcome(job: Job, registered: Registered, begin: float) -> Outcome:
    report = job.folder.file("report") / "report.html"
    return Outcome(
        "candidate" if registered.passed else "failed gates",
        job.product,
        job.batch,
        registered.version,
        registered.url,
        str(report) if report.exists() else None,
        registered.reason,
        time.monotonic() - begin,
    )


def _step(record: RunRecord, name: str, work: Callable[[], tuple[Result, Words]]) -> Result:
    """Do ``work`` as the Prefect task ``name``, and tell the record about it. A registry that is away is tried again."""

    def skin() -> tuple[Result, Words]:
        result, words = work()
        get_run_logger().info("%s: %s", name, printable(words))
        return result, words

    record.begin(name)
    done: Task[[], tuple[Result, Words]] = Task(
        fn=skin,
        name=name,
        task_run_name=name,
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=3,
        retry_delay_seconds=[2, 5, 15],
        retry_condition_fn=lambda _task, _run, state: isinstance(_raised(state), Unreachable),
    )
    result, words = done()
    record.finish(words)
    return result


def _raised(state: Any) -> BaseException | None:
    error = state.result(raise_on_failure=False)
    return error if isinstance(error, BaseException) else None


def _stage(job: Job, record: RunRecord, name: str) -> None:
    """Run a DVC stage; the heavy ones one at a time on this host."""

    def work() -> tuple[None, Words]:
        if name == "validate":
            return None, _repro(job, record, name)
        with host_lock(record.note):
            record.note("")
            return None, _repro(job, record, name)

    _step(record, name, work)


def _repro(job: Job, record: RunRecord, name: str) -> Words:
    ran = repro(job.folder, name, job.logs / f"{name}.log", record.stage)
    return "up to date" if ran.skipped else ran.fact


def _ingest(job: Job, record: RunRecord) -> tuple[None, Words]:
    def report(done: int, total: int) -> None:
        record.note(f"{100 * done // max(total, 1)} %")

    probe_store(job.plant.path)  # what training would make must have a place to go
    if job.images == job.folder.good:  # what was ingested before, for another threshold
        found = job.folder.read_record()
    else:
        found = ingest(job.images, job.folder, job.product, job.batch, report)
    lay_out(job)
    rejected = f", {len(found.rejected)} files rejected (see {job.folder.file('batch.yaml')})" if found.rejected else ""
    return None, f"{len(found.images)} images{rejected}"


def _version(job: Job) -> tuple[None, Words]:
    commit = when_free(lambda: version_batch(job.plant.path, job.folder))
    return None, f"tag {job.product}/{job.batch} at {commit[:10]}"


def _decide(job: Job) -> tuple[tuple[Decided, Version | None], Words]:
    before = trained_before(job, connect_as(job.plant, "trainer"))
    if before is not None:
        reason = f"version {before.version} was made of these images with these settings"
        return (Decided("retrain", reason, None), before), f"{reason}: nothing is trained"
    decided = decide(job)
    words = [f"{decided.action}: {decided.reason}", decided.set_up]
    if decided.action == "retrain":
        # A stage whose outputs are not in the cache runs again, though the store may have them.
        lost = when_free(lambda: fetch_lost(job.plant.path, job.folder))
        words += [f"cache and store have lost {one.as_text()}, which is made again" for one in lost]
    return (decided, None), "; ".join(filter(None, words))


def _register_again(job: Job, requester: Requester, before: Version) -> tuple[Registered, Words]:
    lost = when_free(lambda: lay_again(job, before))
    if not lost:
        return _register(job, requester)
    registered = as_registered(job, before)
    missing = ", ".join(one.as_text() for one in lost)
    return registered, f"version {before.version}, {registered.reason}; cache and store have lost {missing}: restore the store"


def _register(job: Job, requester: Requester) -> tuple[Registered, Words]:
    when_free(lambda: push(job.plant.path, job.folder.path, "dvc.yaml"))
    commit = _commit(job, f"Train {job.product} {job.batch}")
    registered = register(job, commit, requester)
    return registered, f"version {registered.version}, {registered.reason}"


def _commit(job: Job, message: str) -> str:
    # What is too large for git, or nobody's business, is in the .gitignore files that DVC and 'init' wrote.
    return commit_files(job.plant.path, [job.folder.path], message)
