"""The review page: everything that a person of quality assurance needs to decide on a version, and the buttons.

The buttons send the decision, its meaning, the reason and the password to ``/changeover/sign``. Nothing of the version is shown
before its files were compared with what was registered. ``/changeover/review?product=P&version=V``;
``/changeover/review/of?run=RUN`` leads there. Product and version are no part of the path, because MLflow's log-in knows whole
paths only.
"""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from flask import Flask, Response, redirect, request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from mlflow.exceptions import MlflowException
from mlflow.server.handlers import (
    _get_artifact_repo_mlflow_artifacts,
    _get_model_registry_store,
    _get_proxied_run_artifact_destination_path,
    _get_tracking_store,
)
from werkzeug.wrappers import Response as AnyResponse

from registry.errors import RegistryError
from registry.names import (
    CHAMPION,
    MEANINGS,
    QA,
    TAG_GATES,
    TAG_NOTES,
    TAG_NOTES_BY,
    TAG_QA,
    TAG_REASON,
    TAG_REASON_BY,
    TAG_WAIVED_BY,
    TAG_WAIVER,
    check_product,
    check_version,
    is_teacher,
)
from registry.printable import printable
from registry.rules import rules
from registry.rules.facts import Person, VersionFacts
from registry.rules.figures import champion_of, comparison, shown_gates, text_of
from registry.rules.flagged import flags
from registry.rules.notes import read_notes
from registry.rules.states import way_on
from registry.server.artifact_gate import EXCHANGED
from registry.server.attempts import approval_problem, holder, rolled_back, version_facts
from registry.server.authorisation import Authorisation, answer, person
from registry.server.endpoints import Answer, add_route, refusal
from registry.server.serving import Serving
from registry.server.signing import OPENED, Signing
from registry.trail.events import Entry, Trail

HERE: Final = Path(__file__).parent
SECURITY: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
# A report is a file from outside: shown without scripts, in an origin of its own.
REPORT_SECURITY: Final = SECURITY | {
    "Content-Security-Policy": "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'self'"
}
PICTURE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.png", re.ASCII)
RUN: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
LARGEST: Final = 64 << 20
_LONG_ID: Final = re.compile(r"[0-9a-f]{32,64}", re.ASCII)
PAGES = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
PAGES.filters["shortened"] = lambda text: _LONG_ID.sub(lambda found: f"{found[0][:12]}…", text)
PAGES.finalize = lambda value: printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


class ReviewPage:
    """The views."""

    def __init__(self, trail: Trail, gate: Authorisation, signing: Signing, serving: Serving) -> None:
        self._trail, self._gate, self._signing, self._serving = trail, gate, signing, serving

    def install(self, app: Flask) -> None:
        """Adds the addresses to ``app``."""
        add_route(app, "/changeover/review", "GET", self.review)
        add_route(app, "/changeover/review/report", "GET", self.report)
        add_route(app, "/changeover/review/of", "GET", self.of_run)
        add_route(app, "/changeover/review.js", "GET", self.script)
        add_route(app, "/changeover/review.css", "GET", self.style)

    def review(self) -> Answer:
        """The page of one version."""
        found = _requested()
        if isinstance(found, str):
            return refusal(404, found)
        facts, who = version_facts(found.name, str(found.version), self._trail), person()
        exchanged = self._gate.files.problem(facts, remembered=True)
        # What was exchanged after registration is not shown: nobody is to decide by it.
        metrics = {} if exchanged else _json(self._artifact(facts.run_id, "metrics.json"))
        broken = self._broken(facts)
        now = holder(facts.product, CHAMPION)
        html = PAGES.get_template("review.html.j2").render(
            facts=facts, tags=facts.tags, who=who, exchanged=exchanged, broken=broken, run=facts.run_id, now=now,
            guarantee=text_of(metrics.get("guarantee")), rows=comparison(metrics), gates=shown_gates(metrics),
            champion_of_metrics=champion_of(metrics),
            pictures=[] if exchanged else self._pictures(facts.run_id),
            notes=[note.model_dump() for note in _notes(facts.tags.get(TAG_NOTES, ""))],
            own_reason=facts.tags.get(TAG_REASON, "") if facts.tags.get(TAG_REASON_BY) == who.name else "",
            failed=facts.tags.get(TAG_GATES) != "passed", meanings=MEANINGS, opened=self._signing.opened(who.name, facts),
            full_name=self._gate.people.full_name(who.name), strict=self._gate.signature == rules.STRICT,
            waiver_name=self._gate.people.full_name(facts.tags.get(TAG_WAIVED_BY, "")),
            way=way_on(facts, rolled_back=rolled_back(facts, self._trail) is not None, void=bool(broken)),
            serve=self._serving.state(),
            flags=[flag for flag in flags(self._trail) if (flag.product, flag.version) == (facts.product, facts.version)],
            **self._cannot(who, facts, exchanged),
            events=self._trail.find(product=facts.product, version=facts.version, newest_first=True, at_most=200)[::-1],
        )  # fmt: skip
        return Response(html, mimetype="text/html", headers=SECURITY)

    def _broken(self, facts: VersionFacts) -> str | None:
        """Why an approval does not hold; None where it does, or where there is none."""
        if facts.decision != "approved":
            return None
        return rules.sign_off_problem(facts) or approval_problem(facts, self._trail)

    @staticmethod
    def _cannot(who: Person, facts: VersionFacts, exchanged: str | None) -> dict[str, str | None]:
        """For each button why it is disabled."""
        own = {TAG_REASON: "as given", TAG_REASON_BY: who.name, TAG_NOTES: "", TAG_NOTES_BY: who.name}
        signed = replace(facts, tags={**facts.tags, **own})
        return {
            "cannot_approve": exchanged or rules.set_version_tag(who, signed, TAG_QA, "approved"),
            "cannot_reject": rules.set_version_tag(who, signed, TAG_QA, "rejected"),
            "cannot_withdraw": rules.set_version_tag(who, signed, TAG_QA, "pending"),
            "cannot_waive": exchanged or rules.set_version_tag(who, facts, TAG_WAIVER, "as given"),
        }

    def report(self) -> Answer:
        """The report of one version, without scripts. That a person of quality assurance opened it is an event."""
        found = _requested()
        if isinstance(found, str):
            return refusal(404, found)
        facts, who = version_facts(found.name, str(found.version), self._trail), person()
        if problem := self._gate.files.problem(facts, remembered=True):
            return answer(409, EXCHANGED, problem)
        content = self._artifact(facts.run_id, "report.html")
        if content is None:
            return refusal(404, f"{facts} has no report; look at its run in MLflow")
        if who.holds(QA) and not self._signing.opened(who.name, facts):
            self._trail.append(
                Entry(
                    actor=who.name, action=OPENED, product=facts.product, version=facts.version, digest=facts.digest,
                    address=request.remote_addr or "", allowed=True,
                )
            )  # fmt: skip
        return Response(content, mimetype="text/html", headers=REPORT_SECURITY)

    def of_run(self) -> AnyResponse | tuple[Response, int]:
        """From a run to the page of the version that was registered from it."""
        run = request.args.get("run", "")
        if RUN.fullmatch(run):
            found = _get_model_registry_store().search_model_versions(f"run_id = '{run}'", max_results=1)
            if found:
                return redirect(f"/changeover/review?product={found[0].name}&version={found[0].version}")
        return refusal(404, f"no version was registered from run '{run[:40]}'; look for it in MLflow's list of models")

    def script(self) -> Response:
        """The page's script."""
        return Response((HERE / "review.js").read_bytes(), mimetype="text/javascript", headers=SECURITY)

    def style(self) -> Response:
        """The page's style."""
        return Response((HERE / "review.css").read_bytes(), mimetype="text/css", headers=SECURITY)

    def _pictures(self, run: str) -> list[str]:
        repository = _get_artifact_repo_mlflow_artifacts()
        try:
            listed = repository.list_artifacts(_place(run, ""))
        except MlflowException:
            return []
        names = [Path(file.path).name for file in listed or [] if not file.is_dir]
        return sorted(name for name in names if PICTURE.fullmatch(name))

    @staticmethod
    def _artifact(run: str, name: str) -> bytes | None:
        """Content of a file attached to a run; None where it is not there or too large to be one of ours."""
        try:
            path = Path(_get_artifact_repo_mlflow_artifacts().download_artifacts(_place(run, name)))
            return path.read_bytes() if path.stat().st_size <= LARGEST else None
        except (MlflowException, OSError):
            return None


def _requested() -> Any:
    """The version that the address names, or one sentence that says why there is none."""
    product, version = request.args.get("product", ""), request.args.get("version", "")
    if is_teacher(product):
        return f"{product} is a teacher, which no line uses and nobody signs; look at it in MLflow's list of models"
    try:
        return _get_model_registry_store().get_model_version(check_product(product), check_version(version))
    except (RegistryError, MlflowException) as problem:
        return str(getattr(problem, "message", problem))[:300]


def _place(run: str, name: str) -> str:
    root = _get_tracking_store().get_run(run).info.artifact_uri
    return str(_get_proxied_run_artifact_destination_path(proxied_artifact_root=root, relative_path=name or None))


def _notes(text: str) -> list[Any]:
    try:
        return read_notes(text)
    except (ValueError, RecursionError):
        return []


def _json(content: bytes | None) -> dict[str, Any]:
    try:
        found = json.loads(content or b"{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
