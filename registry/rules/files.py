"""The files behind a registered version, as the server itself reads them: those of its run and those of its logged model.

At registration every file is read once; which files there are and the sha256 of each is the version's *manifest*. Its own sha256
is the tag ``changeover.files`` and so part of what is signed; the manifest lies in ``manifests/<sha256>.json`` of the state
folder, where a changed one no longer has its name. Whatever shows, signs or promotes a version compares first.
"""

import hashlib
import json
import os
import stat
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from core.files import replacing
from registry.names import MODEL_FILE, TAG_DIGEST, TAG_FILES, TAG_REPORT, is_digest, is_teacher
from registry.rules.facts import VersionFacts

REPORT_FILES: Final = ("metrics.json", "report.html")
"""What quality assurance reads, and so signs, beside the model."""
OF_RUN, OF_MODEL = "run/", "model/"
NO_FILE: Final = "not a plain file"
_UPLOADING: Final = ".artifact.uploading."  # MLflow's name of a file that is still being sent
_CHUNK: Final = 1 << 20
_REMEMBERED: Final = 10_000

Manifest = Mapping[str, str]
"""``run/report.html`` or ``model/artifacts/model.onnx``, and the sha256 of that file."""


class Files:
    """The files of the versions on one server. ``state``: the folder that all its workers share."""

    def __init__(self, state: Path) -> None:
        self._manifests = state / "manifests"
        self._known: dict[tuple[str, int, int, int, int], str] = {}
        self._lock = threading.Lock()

    def read(self, run_id: str, model_id: str) -> dict[str, str]:
        """The manifest of what lies there now. Raises MLflow's own error where run or model are missing."""
        return dict(sorted(self._read(run_id, model_id, remembered=False)))

    def keep(self, manifest: Manifest) -> str:
        """Writes a manifest down, whole or not at all; its sha256."""
        text = _canonical(manifest)
        digest = hashlib.sha256(text).hexdigest()
        self._manifests.mkdir(mode=0o700, exist_ok=True)
        with replacing(self._manifests / f"{digest}.json", 0o600) as fresh:
            fresh.write_bytes(text)
        return digest

    def problem(self, facts: VersionFacts, *, remembered: bool = False) -> str | None:
        """Why the files of a version are not those that were registered, in one sentence that names one of them; None where they
        are.

        ``remembered``: a file whose size, times and place did not change since it was read is not read again. That is for showing
        it; what signs and promotes reads every byte.
        """
        from mlflow.exceptions import MlflowException

        if is_teacher(facts.product):
            return None  # nobody signs one, and who fetches it compares with the digests on record
        try:
            return self._problem(facts, remembered=remembered)
        except MlflowException as missing:
            if missing.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return f"the run or the logged model of {facts} was deleted after registration; find out by whom, and train again"

    def _problem(self, facts: VersionFacts, *, remembered: bool) -> str | None:
        run_id, model_id = facts.run_id, facts.source.removeprefix("models:/")
        wanted = facts.tags.get(TAG_FILES)
        if wanted is None:
            return self._older(facts, run_id, model_id)
        now = dict(sorted(self._read(run_id, model_id, remembered=remembered)))
        if hashlib.sha256(_canonical(now)).hexdigest() == wanted:
            return None
        registered = self._manifest(wanted)
        if registered is None:
            return f"the files of {facts} are not those that were registered: one was exchanged; find out by whom, train again"
        name = next(one for one in sorted({*now, *registered}) if now.get(one) != registered.get(one))
        what = "exchanged" if name in now and name in registered else "removed" if name in registered else "added"
        title = "the report" if name.removeprefix(OF_RUN) in REPORT_FILES else "a file"
        return (
            f"{title} of {facts} ({name.partition('/')[2][:200]}) was {what} after registration; find out who had access to the"
            " artifacts, and train again"
        )

    def report(self, run_id: str) -> dict[str, bytes]:
        """The files of ``REPORT_FILES`` that a run has, read whole."""
        found = {}
        for name in REPORT_FILES:
            place = _local(_run_root(run_id), name)
            if place is not None and (content := _content(place)) is not None:
                found[name] = content
        return found

    def _older(self, facts: VersionFacts, run_id: str, model_id: str) -> str | None:
        """A version that was registered before there were manifests: its model and its report are compared."""
        model = _local(_model_root(model_id), MODEL_FILE)
        if model is None or _sha256(model) != facts.tags.get(TAG_DIGEST):
            return f"the model file of {facts} was exchanged; train again and find out who had access to the artifacts"
        wanted = facts.tags.get(TAG_REPORT)
        if wanted is None:
            return f"{facts} has no digest of its report on record, so a signature would not cover it; register the model again"
        if report_digest(self.report(run_id)) != wanted:
            return f"the report of {facts} was exchanged after registration; find out by whom"
        return None

    def _manifest(self, digest: str) -> Manifest | None:
        if not is_digest(digest):
            return None
        try:
            text = (self._manifests / f"{digest}.json").read_bytes()
        except OSError:
            return None
        if hashlib.sha256(text).hexdigest() != digest:
            return None
        found: dict[str, str] = json.loads(text)
        return found

    def _read(self, run_id: str, model_id: str, *, remembered: bool) -> Iterator[tuple[str, str]]:
        for prefix, root in ((OF_RUN, _run_root(run_id)), (OF_MODEL, _model_root(model_id))):
            folder = _local(root, "")
            for path in () if folder is None else _below(folder):
                digest = self._remembered(path) if remembered else _sha256(path)
                yield prefix + path.relative_to(folder).as_posix(), digest  # type: ignore[arg-type]

    def _remembered(self, path: Path) -> str:
        try:
            now = path.lstat()
        except OSError:
            return NO_FILE
        # The time of the last change of the entry cannot be set by hand.
        key = (str(path), now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)
        with self._lock:
            found = self._known.get(key)
        if found is None:
            found = _sha256(path)
            with self._lock:
                self._known[key] = found
                while len(self._known) > _REMEMBERED:
                    del self._known[next(iter(self._known))]
        return found


def report_digest(report: Mapping[str, bytes]) -> str | None:
    """sha256 of ``REPORT_FILES``, one after the other; None where one is missing."""
    digest = hashlib.sha256()
    for name in REPORT_FILES:
        if name not in report:
            return None
        digest.update(report[name])
    return digest.hexdigest()


def _canonical(manifest: Manifest) -> bytes:
    return json.dumps(dict(sorted(manifest.items())), separators=(",", ":"), ensure_ascii=True).encode()


def _run_root(run_id: str) -> str:
    from mlflow.server.handlers import _get_tracking_store

    return str(_get_tracking_store().get_run(run_id).info.artifact_uri)


def _model_root(model_id: str) -> str:
    from mlflow.server.handlers import _get_tracking_store

    return str(_get_tracking_store().get_logged_model(model_id).artifact_location)


def _local(root: str, inside: str) -> Path | None:
    """Where the server keeps the artifact ``inside`` the proxied location ``root``; None where nothing is there."""
    from mlflow.exceptions import MlflowException
    from mlflow.server.handlers import _get_artifact_repo_mlflow_artifacts, _get_proxied_run_artifact_destination_path

    path = _get_proxied_run_artifact_destination_path(proxied_artifact_root=root, relative_path=inside or None)
    repository: Any = _get_artifact_repo_mlflow_artifacts()
    try:
        return Path(repository.get_local_path(path))
    except MlflowException:
        return None


def _below(folder: Path) -> Iterator[Path]:
    """Every entry below ``folder`` that is no plain folder, in any order; links are not followed."""
    try:
        entries = list(os.scandir(folder))
    except OSError:  # none, or none that can be read: then it is what is not as it was registered
        yield folder
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _below(Path(entry.path))
        elif not entry.name.startswith(_UPLOADING):
            yield Path(entry.path)


def _open(path: Path) -> int | None:
    """A handle on a plain file; None for links, pipes, devices and what is not there."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    return None


def _sha256(path: Path) -> str:
    handle = _open(path)
    if handle is None:
        return NO_FILE
    with os.fdopen(handle, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _content(path: Path) -> bytes | None:
    handle = _open(path)
    if handle is None:
        return None
    with os.fdopen(handle, "rb") as file:
        return file.read()
