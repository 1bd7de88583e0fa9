"""The text that a QA person reads on a version's page: key numbers, pictures, the report, and how to sign."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from registry.markdown import LONGEST, cell
from registry.rules.figures import champion_of, comparison, shown_gates

PICTURES: Final = (("good.png", "Good images"), ("defects.png", "Pseudo-defects"))
REPORT: Final = "report.html"


def describe(metrics: Mapping[str, Any], files: frozenset[str], experiment_id: str, run_id: str) -> str:
    """Markdown for the version made from ``metrics`` (report/metrics.json); ``files`` are the names attached to the run."""
    gates = "passed" if metrics.get("passed") else "**failed**"
    head = f"### {cell(metrics.get('product'))} · batch {cell(metrics.get('batch'))} · gates {gates}"
    table = _table(metrics)
    pictures = "\n\n".join(
        f"**{title}**\n\n![{title}](/get-artifact?path={quote(name)}&run_uuid={run_id})"
        for name, title in PICTURES
        if name in files
    )
    links = ""
    if REPORT in files:
        page = f"#/experiments/{experiment_id}/runs/{run_id}/artifacts/{REPORT}?workflowType=machine_learning"
        links = f"[Full report](/{page})"
    signing = (
        f"**To sign**: [open the review page](/changeover/review/of?run={run_id}). Or under Tags below: add tag `qa.reason` with "
        "your reason; then find `qa` at the end of the list, press its pencil and save `approved` or `rejected`. "
        "The server adds who, when and which file."
    )
    rest = "\n\n".join(part for part in (links, pictures, _gates(metrics), _guarantee(metrics)) if part)
    whole = f"{head}\n\n{table}\n\n{signing}\n\n{rest}"
    return whole if len(whole) <= LONGEST else whole[: LONGEST - 1] + "…"


def _table(metrics: Mapping[str, Any]) -> str:
    version = champion_of(metrics)
    against = f"champion, version {cell(version)}" if version else "champion: none yet"
    rows = [f"| | this version | {against} |", "|---|---|---|"]
    rows += [f"| {title} | {ours} | {theirs} |" for title, ours, theirs in comparison(metrics)]
    return "\n".join(rows)


def _gates(metrics: Mapping[str, Any]) -> str:
    gates = shown_gates(metrics)
    if not gates:
        return ""
    rows = ["| gate | value | limit | |", "|---|---|---|---|"]
    for gate in gates[:12]:
        verdict = "passed" if gate["passed"] else "**failed**"
        rows.append(f"| {cell(gate['name'])} | {gate['value']} | {gate['limit']} | {verdict} |")
    return "\n".join(rows)


def _guarantee(metrics: Mapping[str, Any]) -> str:
    text = metrics.get("guarantee")
    return cell(text, 400) if isinstance(text, str) else ""
