"""The certificate of one version, for print: one file that loads nothing from elsewhere, as HTML or PDF."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from core.errors import BadSettings, ChangeoverError
from core.files import replacing, write_text
from data.page import templates
from flows.errors import PlantError
from flows.plant import Plant
from flows.records.lineage import start_line, teacher_line
from flows.records.trail import database, kept_heads, key_file
from flows.serving.services import connect_as
from flows.steps.fetch import fetch_metrics
from models.evaluation.metrics_file import Training
from registry.client.connection import Connection
from registry.client.sign_off import SignOff, status_of
from registry.client.versions import Version, version_of
from registry.errors import NotFound
from registry.names import CHAMPION, TAG_QA, TAG_REQUESTED_BY, TAG_WAIVED_BY, TAG_WAIVER
from registry.printable import printable
from registry.trail import audit
from registry.trail.events import Event

PDF_SECONDS = 60
WAYS = {
    "page": "on the review page, with the report opened there",
    "terminal": "with a command in a terminal",
    "tag": "by setting tags, without the review page",
}
"""``names.WAYS`` in words."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def write_certificate(plant: Plant, product: str, version: int, target: Path) -> bool:
    """Write the certificate of a version to ``target`` (.html or .pdf), whole or not at all.

    Returns whether all that it certifies holds: the trail with every kept head, and an approval, where there is one. Reads
    the model file. ServerError if the registry is not up; ``registry.errors.NotFound`` without such a version.
    """
    if target.suffix.lower() not in (".html", ".pdf"):
        raise BadSettings(f"--out {str(target)!r} ends with {target.suffix!r}; let it end with .html or .pdf")
    connection = connect_as(plant, "trainer")
    record = version_of(connection, product, version)
    signed = status_of(connection, record)
    kept, source = kept_heads(plant), database(plant)
    problems = [*audit.verify(source, *kept.heads, key=key_file(plant)), *kept.problems]
    events = [one for one in audit.read_events(source, product) if one.version == record.version] if not problems else []
    training = _training(connection, record)
    names = {} if problems else audit.full_names(source, _people(record))
    page = certificate(record, signed, events, problems, audit.head(source), len(kept.heads), training=training, names=names)
    if target.suffix.lower() == ".html":
        write_text(target, page)
    else:
        _print(page, target)
    return not problems and (signed.valid or signed.decision != "approved")


def certificate(
    record: Version, signed: SignOff, events: list[Event], problems: list[str], head: str, heads: int,
    now: datetime | None = None, training: Training | None = None, names: Mapping[str, str] | None = None,
) -> str:  # fmt: skip
    """The page as HTML; the same facts at the same time (``now``, by default the present) give the same text.

    ``training``: of its ``metrics.json``, None where that cannot be had. ``names``: full names by user.
    """
    environment = templates(Path(__file__).parent)
    environment.finalize = _visible
    environment.filters["moment"] = lambda time: time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    return environment.get_template("certificate.html.j2").render(
        record=record,
        tags=record.tags,
        signed=signed,
        signed_in=WAYS.get(signed.way, signed.way),
        requested=record.tags.get(TAG_REQUESTED_BY, "").partition(":"),
        names=names or {},
        decisions=[one for one in events if _decides(one)],
        events=events,
        problems=problems,
        head=head.partition(":"),
        heads=heads,
        now=now or datetime.now(UTC),
        teacher=None if training is None else teacher_line(training),
        start=None if training is None else start_line(training),
    )


def _visible(value: Any) -> Any:
    """Every value that the template inserts, made printable: it neither hides text nor turns other letters round."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "\n".join(map(printable, value.replace("\r\n", "\n").split("\n")))


def _people(record: Version) -> set[str]:
    """Users on the page whose full names are not in the version's tags."""
    kind, _, requester = record.tags.get(TAG_REQUESTED_BY, "").partition(":")
    return {user for user in (record.tags.get(TAG_WAIVED_BY), requester if kind == "user" else None) if user}


def _training(connection: Connection, record: Version) -> Training | None:
    try:
        return fetch_metrics(connection, record).training
    except (NotFound, PlantError):
        return None


def _decides(event: Event) -> bool:
    """Whether the event is a registration, a signature, a waiver or a promotion."""
    if not event.allowed:
        return False
    promoted = event.action == "alias.set" and event.subject == CHAMPION
    return promoted or event.action in ("register", "publish") or event.subject in (TAG_QA, TAG_WAIVER)


def _print(page: str, target: Path) -> None:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise ChangeoverError(
            "no Chromium to print a PDF with; install it, for example with 'apt install chromium', or let --out end with .html"
        )
    with tempfile.TemporaryDirectory() as scratch, replacing(target) as temporary:
        source, made = Path(scratch) / "certificate.html", Path(scratch) / "certificate.pdf"
        source.write_text(page, encoding="utf-8")
        # The page has no script and loads nothing, so it does without the sandbox, which root cannot use.
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"]
        command += [f"--user-data-dir={scratch}/profile", f"--print-to-pdf={made}", source.as_uri()]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                check=False,
                timeout=PDF_SECONDS,
                stdin=subprocess.DEVNULL,
                env=os.environ | {"HOME": scratch},
            )
        except subprocess.TimeoutExpired as error:
            raise ChangeoverError(
                f"{browser} printed no PDF within {PDF_SECONDS} s; try again, or let --out end with .html"
            ) from error
        if done.returncode or not made.exists() or not made.read_bytes().startswith(b"%PDF-"):
            lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"]
            raise ChangeoverError(f"{browser} printed no PDF ({lines[-1][:200]}); let --out end with .html and print that")
        shutil.copyfile(made, temporary)
