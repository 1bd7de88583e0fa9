"""Stage ``validate``: is this batch fit to train on? ``python -m data.validate`` in the batch's folder.

Reads ``batch.yaml``, ``good/``, ``history.json`` and ``params.yaml``; writes ``validation.json``, ``validation.html`` and, if
nothing forbids training, ``split.json``.
"""

from collections.abc import Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

import pandas as pd

from core.errors import BadBatch, BadSettings
from core.files import file_digest, write_json, write_text
from data.batch import BatchFolder, BatchRecord
from data.split import SUBSETS, split_batch
from data.stage import read_params, read_settings, run_stage
from data.validation.checks import Check, run_checks
from data.validation.facts import image_facts
from data.validation.history import read_history
from data.validation.page import validation_page
from data.validation.settings import ValidateSettings


def validate(folder: BatchFolder) -> None:
    """Check the batch and split it. BadBatch after writing the findings if a check of severity ``error`` failed."""
    params = read_params(folder)
    settings, seed = settings_of(params)
    record = folder.read_record()
    facts = image_facts(folder, record)
    history = read_history(folder.file("history.json"))
    checks = run_checks(facts, record, _added(folder, record), history, settings)
    failed = [check for check in checks if not check.passed and check.severity == "error"]
    write_json(folder.file("validation.json"), _findings(facts, checks))
    write_text(folder.file("validation.html"), validation_page(folder, record, facts, checks))
    _print_facts(checks)
    if failed:
        first = failed[0]
        more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
        which = f" ({', '.join(first.images[:3])}{', …' if len(first.images) > 3 else ''})" if first.images else ""
        raise BadBatch(
            f"batch {record.batch!r} fails check {first.name!r}: {first.observed}{which}, allowed {first.limit}{more}; "
            "see validation.html for what to do"
        )
    duplicates = {row["name"]: row["duplicate_of"] for row in facts.to_dict("records") if isinstance(row["duplicate_of"], str)}
    split = split_batch({image.name: image.group for image in record.images}, seed, duplicates)
    write_json(folder.file("split.json"), split.as_json())
    print("split: " + ", ".join(f"{subset} {len(getattr(split, subset))}" for subset in SUBSETS))
    if split.note:
        print(f"note: {split.note}")


def settings_of(params: dict[str, Any]) -> tuple[ValidateSettings, int]:
    """Section ``validate`` and the seed of ``params.yaml``; BadSettings if either is wrong."""
    seed = params.get("seed")
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise BadSettings(f"params.yaml has seed {seed!r}; it must be a whole number, such as 'seed: 1'")
    return read_settings(params, "validate", ValidateSettings), seed


def _added(folder: BatchFolder, record: BatchRecord) -> dict[str, str]:
    """Files in ``good/`` that ingest did not put there, with their digests."""
    known = {image.name for image in record.images}
    files = (path for path in folder.good.rglob("*") if path.is_file() and path.relative_to(folder.good).as_posix() not in known)
    return {path.relative_to(folder.good).as_posix(): file_digest(path) for path in sorted(files)}


def _findings(facts: pd.DataFrame, checks: Sequence[Check]) -> dict[str, Any]:
    """``validation.json``."""
    rows = [{str(key): _plain(value) for key, value in row.items()} for row in facts.to_dict("records")]

    def middle(key: str) -> float | None:
        values = [row[key] for row in rows if row[key] is not None]
        return float(f"{median(values):.6g}") if values else None

    return {
        "passed": all(check.passed or check.severity == "warning" for check in checks),
        "checks": [{**asdict(check), "images": list(check.images)} for check in checks],
        "facts": rows,
        "summary": {
            "images": len(rows),
            "duplicates": sum(row["duplicate_of"] is not None for row in rows),
            "warnings": sum(not check.passed and check.severity == "warning" for check in checks),
            **{key: middle(key) for key in ("width", "height", "channels", "brightness", "contrast", "sharpness")},
        },
    }


def _plain(value: Any) -> Any:
    """A cell as JSON knows it: no NaN, whole numbers whole, six digits."""
    if isinstance(value, float):
        if value != value:  # noqa: PLR0124  NaN
            return None
        return int(value) if value.is_integer() and abs(value) >= 1 else float(f"{value:.6g}")
    return value


def _print_facts(checks: Sequence[Check]) -> None:
    """One line a check, those first that need attention."""
    for check in sorted(checks, key=lambda check: (check.passed, check.severity)):
        state = "ok" if check.passed else check.severity
        print(f"{state}: {check.name}: {check.observed} (allowed {check.limit})")


if __name__ == "__main__":
    run_stage(validate)
