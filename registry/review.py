"""The review page: everything that a person of quality assurance needs to decide on a version, and the buttons.

The page's buttons set the same tags on the same addresses as MLflow's own page, so that there is one way to sign, one judge and
one trail. ``/changeover/review?product=P&version=V``; ``/changeover/review/of?run=RUN`` leads there. Product and version are no
part of the path, because MLflow's log-in knows whole paths only.
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

from registry import rules
from registry.attempts import holder, version_facts
from registry.endpoints import add_route, refusal
from registry.errors import RegistryError
from registry.events import Trail
from registry.gate import person
from registry.names import (
    CHAMPION,
    TAG_GATES,
    TAG_NOTES,
    TAG_QA,
    TAG_REASON,
    TAG_WAIVER,
    check_product,
    check_version,
    is_teacher,
)
from registry.notes import read_notes

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
_PAGES = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True)


class ReviewPage:
    """The views."""

    def __init__(self, trail: Trail) -> None:
        self._trail = trail

    def install(self, app: Flask) -> None:
        """Adds the addresses to ``app``."""
        add_route(app, "/changeover/review", "GET", self.review)
        add_route(app, "/changeover/review/report", "GET", self.report)
        add_route(app, "/changeover/review/of", "GET", self.of_run)
        add_route(app, "/changeover/review.js", "GET", self.script)
        add_route(app, "/changeover/review.css", "GET", self.style)

    def review(self) -> Response | tuple[Response, int]:
        """The page of one version."""
        found = _asked_for()
        if isinstance(found, str):
            return refusal(404, found)
        product = found.name
        facts = version_facts(product, str(found.version), self._trail)
        metrics = _json(self._artifact(found.run_id, "metrics.json"))
        who = person()
        signed = facts if facts.tags.get(TAG_REASON) else replace(facts, tags={**facts.tags, TAG_REASON: "as given"})
        html = _PAGES.get_template("review.html.j2").render(
            facts=facts, tags=facts.tags, metrics=metrics, champion=_part(metrics, "champion"), rows=comparison(metrics),
            gates=[gate for gate in metrics.get("gates", []) if isinstance(gate, dict)] if metrics else [],
            now=holder(product, CHAMPION), run=found.run_id, pictures=self._pictures(found.run_id),
            notes=[note.model_dump() for note in _notes(facts.tags.get(TAG_NOTES, ""))],
            failed=facts.tags.get(TAG_GATES) != "passed", who=who,
            cannot_approve=rules.set_version_tag(who, signed, TAG_QA, "approved"),
            cannot_reject=rules.set_version_tag(who, signed, TAG_QA, "rejected"),
            cannot_withdraw=rules.set_version_tag(who, signed, TAG_QA, "pending"),
            cannot_waive=rules.set_version_tag(who, facts, TAG_WAIVER, "as given"),
            broken=rules.sign_off_problem(facts) if facts.decision == "approved" else None,
            events=[event for event in self._trail.events(product) if event.version == facts.version][-200:],
        )  # fmt: skip
        return Response(html, mimetype="text/html", headers=SECURITY)

    def report(self) -> Response | tuple[Response, int]:
        """The report of one version, without scripts."""
        found = _asked_for()
        if isinstance(found, str):
            return refusal(404, found)
        content = self._artifact(found.run_id, "report.html")
        if content is None:
            return refusal(404, f"version {found.version} of {found.name} has no report; look at its run in MLflow")
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


def _asked_for() -> Any:
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
    except ValueError:
        return []


def _json(content: bytes | None) -> dict[str, Any]:
    try:
        found = json.loads(content or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _part(metrics: dict[str, Any], key: str) -> dict[str, Any]:
    part = metrics.get(key)
    return part if isinstance(part, dict) else {}


def comparison(metrics: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Rows of the table: what, this version, the champion."""
    champion = _part(metrics, "champion")
    rows = [
        (title, _rate(metrics.get(key)), _rate(champion.get(key)))
        for title, key in (("Overkill: good parts rejected", "overkill"), ("Escape: defects passed", "escape"))
    ]
    rows += [
        (title, _number(metrics.get(key)), _number(champion.get(key)))
        for title, key in (("Image AUROC", "image_auroc"), ("Pixel AP", "pixel_ap"), ("Threshold", "threshold"))
    ]
    return rows


def _rate(value: Any) -> str:
    if not isinstance(value, dict) or not all(
        isinstance(value.get(key), int | float) for key in ("rate", "count", "n", "low", "high")
    ):
        return "–"
    return f"{value['rate']:.1%} ({value['count']} of {value['n']}; {value['low']:.1%} to {value['high']:.1%})"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) and not isinstance(value, bool) else "–"
