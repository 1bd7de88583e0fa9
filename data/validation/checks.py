"""The rules a batch is checked by: a Great Expectations suite over the table of image facts, and what its results mean.

A rule is one expectation; a check is one line for people, of one rule or more.
"""

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from data.batch import MIN_IMAGES, BatchRecord
from data.image import MIN_SIDE
from data.intact import LEAST_TAIL
from data.validation.history import History
from data.validation.outliers import brightness_limits, clipped_limit, detail_limit
from data.validation.settings import ValidateSettings

LEAST_VARIETY = 2.0
"""A camera that looks at one part for ever makes 0.7 to 1.3, eight real products 7 and more."""
SIZE_SPREAD = 0.05
"""Crops around a part that was found in the picture differ by a few per cent (commutators: 3 %); that is no second camera."""
Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Check:
    """One line of ``validation.json``: what was looked at, what was seen and what is allowed, in words; images that stand out."""

    name: str
    passed: bool
    severity: Severity
    observed: str
    limit: str
    text: str
    images: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rule:
    """One expectation: Great Expectations' class and arguments, and the check it belongs to."""

    check: str
    severity: Severity
    kind: str
    arguments: dict[str, Any]


def run_checks(
    facts: pd.DataFrame, record: BatchRecord, added: Mapping[str, str], history: History, settings: ValidateSettings
) -> list[Check]:
    """Check the facts of a batch. ``added`` maps files in ``good/`` that are not on record to their digests.

    ``facts`` is what ``data.validation.facts.image_facts`` gives for ``record``. The order of checks is fixed.
    """
    table = _table(facts, record, added)
    rules = _rules(table, record, history, settings)
    passed: dict[str, bool] = {}
    named: dict[str, set[str]] = {}
    # As severe as the worst rule that failed; where none did, as the worst of all.
    severity: dict[tuple[str, bool], Severity] = {}
    for rule, result in zip(rules, _expect(table, rules), strict=True):
        success = bool(result["success"])
        passed[rule.check] = passed.get(rule.check, True) and success
        if severity.get((rule.check, success)) != "error":
            severity[rule.check, success] = rule.severity
        rows = result["result"].get("unexpected_index_list") or []
        named.setdefault(rule.check, set()).update(str(row["name"]) for row in rows)
    words = _words(table, record, history, settings)
    named |= _stand_out(table, passed, named)
    # In the order of the page; a rule that nobody wrote words for counts as any other, and comes last.
    order = [*(name for name in words if name in passed), *(name for name in passed if name not in words)]
    return [
        Check(
            name,
            passed[name],
            severity[name, passed[name]],
            *(words.get(name) or _bare_words(name, rules, named)),
            tuple(sorted(named[name])),
        )
        for name in order
    ]


def _table(facts: pd.DataFrame, record: BatchRecord, added: Mapping[str, str]) -> pd.DataFrame:
    """The facts with what the rules need beside them; added files are rows that have digests only."""
    then = {image.name: image for image in record.images}
    extra = pd.DataFrame({"name": [*added], "sha256": [*added.values()]}, columns=["name", "sha256"], dtype=object)
    table = pd.concat([facts, extra], ignore_index=True) if added else facts.copy()
    table["recorded_sha256"] = [then[name].sha256 if name in then else None for name in table["name"]]
    table["side"] = table[["width", "height"]].min(axis=1)
    known = table["width"].notna()
    table["detail"] = table["sharpness"] / table["contrast"].clip(lower=1 / 255) ** 2  # a dark image is not a blurred one
    table["original"] = table["duplicate_of"].where(table["duplicate_of"].notna(), table["name"]).where(known, None)
    table["usable"] = table["name"].where(known, None)
    groups = {name: image.group for name, image in then.items()}
    table["repeats"] = [
        float(isinstance(other, str) and (groups.get(name) is None or groups.get(name) != groups.get(other)))
        for name, other in zip(table["name"], table["duplicate_of"], strict=True)
    ]
    return table


def _rules(table: pd.DataFrame, record: BatchRecord, history: History, settings: ValidateSettings) -> list[Rule]:
    """Every expectation, with its limits; those of single facts only if there are facts."""
    rules = [
        Rule("readable", "error", "ExpectColumnValuesToBeNull", {"column": "problem"}),
        Rule("unchanged", "error", "ExpectColumnPairValuesToBeEqual", {"column_A": "sha256", "column_B": "recorded_sha256"}),
        _at_least("enough images", "error", "usable", MIN_IMAGES),
        _at_least("distinct images", "warning", "original", MIN_IMAGES),
        _at_least("plenty of images", "warning", "usable", settings.few_images),
    ]
    if not table["usable"].notna().any():
        return rules
    channels = Counter(image.channels for image in record.images).most_common(1)[0][0]
    dark, bright = brightness_limits(table, settings)
    rules += [
        _between("minimum size", "error", "side", MIN_SIDE),
        Rule("channels", "error", "ExpectColumnValuesToBeInSet", {"column": "channels", "value_set": [channels]}),
        Rule("bit depth", "error", "ExpectColumnValuesToBeInSet", {"column": "bits", "value_set": [8]}),
        _between("blur", "warning", "detail", detail_limit(table, settings)),
        _between("exposure", "warning", "brightness", dark, bright),
    ]
    for column in ("overexposed", "underexposed"):
        rules.append(_between("exposure", "warning", column, None, clipped_limit(table[column], settings)))
    rules += [_at_most("orientation", "turned", 1), _between("last rows", "warning", "tail", None, _tail_limit(table))]
    if channels == 3:  # among grey ones it makes no difference
        rules.append(_at_most("files in colour", "stored", 1))
    for column in ("width", "height"):
        middle = float(table[column].median())
        rules.append(_between("one size", "warning", column, (1 - SIZE_SPREAD) * middle, (1 + SIZE_SPREAD) * middle))
    limits: dict[str, Any] = {"column": "repeats", "max_value": settings.duplicates_fraction}
    rules.append(Rule("near-duplicates", "warning", "ExpectColumnMeanToBeBetween", limits))
    limits = {"column": "variety", "min_value": LEAST_VARIETY}
    rules.append(Rule("variety", "warning", "ExpectColumnMedianToBeBetween", limits))
    for column in history.compared():
        low, high = history.limits(column, settings.drift_sigmas)
        limits = {"column": column, "min_value": low, "max_value": high}
        rules.append(Rule(f"drift of {column}", "warning", "ExpectColumnMedianToBeBetween", limits))
    return rules


def _between(check: str, severity: Severity, column: str, low: float | None, high: float | None = None) -> Rule:
    """Each value of a column within limits."""
    limits = {"column": column, "min_value": low, "max_value": high}
    return Rule(check, severity, "ExpectColumnValuesToBeBetween", limits)


def _at_least(check: str, severity: Severity, column: str, least: int) -> Rule:
    """At least so many different values in a column."""
    return Rule(check, severity, "ExpectColumnUniqueValueCountToBeBetween", {"column": column, "min_value": least})


def _at_most(check: str, column: str, most: int) -> Rule:
    """At most so many different values in a column, or a warning."""
    return Rule(check, "warning", "ExpectColumnUniqueValueCountToBeBetween", {"column": column, "max_value": most})


def _tail_limit(table: pd.DataFrame) -> float:
    """Share of an image's last rows that may be of one level: as much as there is, where most images are so."""
    return 1.0 if float((table["tail"].dropna() > LEAST_TAIL).mean()) > 0.5 else LEAST_TAIL


def _expect(table: pd.DataFrame, rules: Sequence[Rule]) -> list[dict[str, Any]]:
    """Run the rules as one Great Expectations suite; results in the order of the rules."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # before the import, which takes three seconds
    import great_expectations as gx
    from great_expectations import expectations
    from great_expectations.data_context.types.base import ProgressBarsConfig

    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    whole = context.data_sources.add_pandas("batch").add_dataframe_asset("facts").add_batch_definition_whole_dataframe("whole")
    suite = gx.ExpectationSuite(name="good images")
    for number, rule in enumerate(rules):
        meta = {"number": number, "check": rule.check}
        severity = "critical" if rule.severity == "error" else "warning"
        suite.add_expectation(getattr(expectations, rule.kind)(**rule.arguments, meta=meta, severity=severity))
    definition = gx.ValidationDefinition(name="validate", data=whole, suite=context.suites.add(suite))
    outcome = context.validation_definitions.add(definition).run(
        batch_parameters={"dataframe": table},
        result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["name"]},
    )
    results: list[dict[str, Any]] = sorted(
        outcome.to_json_dict()["results"], key=lambda result: result["expectation_config"]["meta"]["number"]
    )
    for result, rule in zip(results, rules, strict=True):
        if result["exception_info"].get("raised_exception"):  # a rule that could not be computed must not pass for a failed check
            raise RuntimeError(f"expectation {rule.kind} on {rule.arguments} failed: {result['exception_info']}")
    return results


def _words(
    table: pd.DataFrame, record: BatchRecord, history: History, settings: ValidateSettings
) -> dict[str, tuple[str, str, str]]:
    """Check → (what was observed, what is allowed, what it means and what to do), in the order of the page."""
    usable, distinct = int(table["usable"].nunique()), int(table["original"].nunique())
    sides = table["side"].dropna()
    repeats = float(table["repeats"].mean())
    dark, bright = brightness_limits(table, settings)
    changed = int((table["sha256"] != table["recorded_sha256"]).sum())
    over, under = (clipped_limit(table[column], settings) for column in ("overexposed", "underexposed"))
    words = {
        "readable": (
            f"{int(table['problem'].notna().sum())} unreadable",
            "0",
            "Images that do not open: restore good/ with 'dvc checkout good.dvc', or ingest again.",
        ),
        "unchanged": (
            f"{changed} changed, missing or added",
            "0",
            "Files that are not byte for byte those that were ingested: restore good/ with 'dvc checkout good.dvc', "
            "or ingest the images as a new batch.",
        ),
        "minimum size": (
            f"{sides.min():.0f} px" if len(sides) else "none measured",
            f"≥ {MIN_SIDE} px",
            "The shorter side of the smallest image.",
        ),
        "channels": (
            _counted(table["channels"], {1: "grey", 3: "colour"}),
            "one kind",
            "All grey or all colour: the model has one kind of input.",
        ),
        "files in colour": (
            _counted(table["stored"], {1: "grey", 3: "in colour"}),
            "all saved alike",
            "Grey files in a batch in colour are taken as pictures without any colour: check that one camera took all of them.",
        ),
        "orientation": (
            _counted(
                table["turned"], {1: "upright", 2: "mirrored", 3: "turned by 180°", 6: "turned by 90°", 8: "turned by 270°"}
            ),
            "all alike",
            "A camera that looks straight down guesses how it is held, and its EXIF data turn some images. Look whether parts "
            "lie alike; if not, switch that off in the camera, and remove the orientation from the files.",
        ),
        "last rows": (
            f"up to {table['tail'].max():.0%} of an image",
            f"≤ {_tail_limit(table):.0%}",
            "Images whose last rows are all of one level, as in a file that was not written to its end: look at them.",
        ),
        "bit depth": (_counted(table["bits"], {}, " bits"), "8 bits", "Bits a channel."),
        "enough images": (f"{usable}", f"≥ {MIN_IMAGES}", "Fewer good images cannot be split into four subsets: deliver more."),
        "distinct images": (
            f"{distinct}",
            f"≥ {MIN_IMAGES}",
            "Images that show different parts, near-duplicates counted once: deliver images of more parts. Where they are "
            "different parts that look alike, say so in a groups.csv.",
        ),
        "plenty of images": (
            f"{usable}",
            f"≥ {settings.few_images}",
            "With fewer images the threshold can promise little: deliver more if you can.",
        ),
        "one size": (
            _sizes(table),
            f"each side within {SIZE_SPREAD:.0%} of its median",
            "Images of different size are accepted; check that they come from one camera and one crop.",
        ),
        "blur": (
            f"lowest {table['detail'].min():.3g}",
            f"≥ {detail_limit(table, settings):.3g}",
            "Sharpness divided by squared contrast. Images far less sharp than the rest of the batch: check focus and motion, "
            "leave them out if they are blurred.",
        ),
        "exposure": (
            f"brightness {table['brightness'].min():.2f} to {table['brightness'].max():.2f}, overexposed up to "
            f"{table['overexposed'].max():.1%}, underexposed up to {table['underexposed'].max():.1%}",
            f"brightness {max(dark, 0):.2f} to {min(bright, 1):.2f}, overexposed up to {min(over, 1):.1%}, underexposed up to "
            f"{min(under, 1):.1%}",
            "Images far brighter, darker or more clipped than the rest of the batch: check the light, leave them out if wrong.",
        ),
        "variety": (
            f"{table['variety'].median():.2g} × noise",
            f"≥ {LEAST_VARIETY}",
            "How far the images depart from their mean. If it is hardly more than noise, they show the same, as sheets without "
            "texture and tiny parts do. If yours are neither: check that the line moved on.",
        ),
        "near-duplicates": (
            f"{repeats:.1%} of images",
            f"≤ {settings.duplicates_fraction:.1%}",
            "Images that repeat another one and are not known to show the same part; they stay on one side of the split, "
            "but teach nothing new: check that the line moved on.",
        ),
    }
    for column in history.compared():
        low, high = history.limits(column, settings.drift_sigmas)
        words[f"drift of {column}"] = (
            f"median {table[column].median():.3g}",
            f"{max(low, 0):.3g} to {high:.3g}",
            f"Compared with earlier batches of {record.product} ({len(history.batches)}): if outside, check light, lens and "
            "material.",
        )
    return words


def _bare_words(name: str, rules: Sequence[Rule], named: Mapping[str, set[str]]) -> tuple[str, str, str]:
    """The same for a check without words of its own: from its rules."""
    allowed = "; ".join(
        f"{rule.kind.removeprefix('Expect')} {', '.join(f'{key}={value}' for key, value in rule.arguments.items())}"
        for rule in rules
        if rule.check == name
    )
    return f"{len(named[name])} images against it", allowed, "Look at the images named; correct or leave out what is wrong."


def _counted(column: pd.Series, names: Mapping[int, str], unit: str = "") -> str:
    """Values of a column with their numbers, such as ``70 grey``."""
    counts = Counter(int(value) for value in column.dropna())
    return ", ".join(f"{count} {names.get(value, f'with {value}{unit}')}" for value, count in counts.most_common()) or "none"


def _sizes(table: pd.DataFrame) -> str:
    """Width and height of the images, or their ranges."""
    if not table["width"].notna().any():
        return "none measured"
    sides = [(f"{table[side].min():.0f}", f"{table[side].max():.0f}") for side in ("width", "height")]
    return " × ".join(low if low == high else f"{low} to {high}" for low, high in sides) + " px"


def _stand_out(table: pd.DataFrame, passed: Mapping[str, bool], named_by_rules: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Images behind failed checks that are about the batch as a whole."""
    named: dict[str, set[str]] = {}
    if not passed.get("near-duplicates", True):
        named["near-duplicates"] = set(table["name"][table["repeats"] > 0])
    for check, column in (("orientation", "turned"), ("files in colour", "stored")):
        if not passed.get(check, True):
            named[check] = set(table["name"][table[column].notna() & (table[column] != table[column].mode()[0])])
    if not passed["distinct images"]:
        named["distinct images"] = set(table["name"][table["duplicate_of"].notna()])
    if not passed.get("one size", True) and len(named_by_rules["one size"]) > len(table) / 4:
        named["one size"] = set()  # the batch is mixed, not some of its images odd
    return named
