"""Whether this was trained already: the registry's answer, which no lost cache changes, and a batch laid as it was then."""

import json
from contextlib import suppress

from core.errors import ChangeoverError
from core.files import write_text
from data.checkout import file_at, lay_as_at
from data.lost import Lost, fetch_lost, lost
from data.repository import dvc
from flows.steps.decide import key_of
from flows.steps.job import Job
from registry.client.connection import Connection
from registry.client.versions import Version, versions


def trained_before(job: Job, connection: Connection) -> Version | None:
    """The newest version that was made of the batch's images with this order; None where there is none.

    The registry names batch, images and commit; the order is in ``decision.json`` of that commit.
    """
    key = key_of(job)
    made = [one for one in versions(connection, job.product) if (one.batch, one.images) == (job.batch, key["images"])]
    return next((one for one in made if _key_at(job, one.commit) == key), None)


def _key_at(job: Job, commit: str) -> dict[str, str]:
    try:
        found = json.loads(file_at(job.plant.path, commit, job.product, job.batch, "decision.json") or "{}")
        return {name: str(found[name]) for name in ("images", "params")}
    except (ValueError, KeyError, TypeError):
        return {}


def lay_again(job: Job, version: Version) -> list[Lost]:
    """Restore the batch as it was when ``version`` was made, with its stages' outputs; what the cache lacks comes from the
    store.

    Returns what neither cache, store nor folder holds any more; the folder then stays as it is. StorageError where the store
    does not answer.
    """
    lay_as_at(job.plant.path, version.commit, job.folder)
    if fetch_lost(job.plant.path, job.folder):
        _keep_what_is_there(job)
    gone = lost(job.plant.path, job.folder)
    if not gone:
        dvc(job.folder.path, "checkout", "--force", "dvc.yaml")
    return gone


def _keep_what_is_there(job: Job) -> None:
    """Put the folder's outputs into the cache again; the record stays what it is, whatever lies there now."""
    lock = job.folder.file("dvc.lock")
    recorded = lock.read_text(encoding="utf-8")
    with suppress(ChangeoverError):  # not all of them are there
        dvc(job.folder.path, "commit", "--force", "dvc.yaml")
    if lock.read_text(encoding="utf-8") != recorded:  # they were changed by hand
        write_text(lock, recorded)
