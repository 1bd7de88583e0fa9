"""The QA report: one HTML page that works offline, and two contact sheets beside it for the registry's version page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import cv2
from markupsafe import Markup

from core.files import write_text
from data.batch import BatchRecord
from data.page import templates
from models.evaluation.metrics_file import Choice, Family, Metrics, judged
from models.evaluation.rate import Rate
from models.report import charts, wording
from models.report.contact_sheet import write_sheet
from models.report.example import Example, by_family, closest_calls, not_judged, spread, worst_escapes, worst_false_alarms
from models.report.histogram import BROAD, NARROW, Row, Shape, score_histogram
from models.report.legend import legend
from models.report.overlay import HALO, OUTLINE, ColourScale, Pixels, rgb
from models.report.picture import Picture, data_uri, embed_all, fitted
from models.report.shade import OPACITY, SHADE

WORST, CLOSE, GOOD_ROWS, DEFECT_ROWS, SHEET_GOOD, SHEET_DEFECTS = 5, 2, 4, 8, 12, 18  # pictures, rows of pictures
LISTED = 200  # rows of trials and rejections
TEMPLATE_SIDE, TEMPLATES_SHOWN = 320, 8
PICTURE_BUDGET = 4_500_000  # characters of all pictures together: the page stays under 6 MB


@dataclass(frozen=True, eq=False)
class ContentsOfBatch:
    """The batch as the report shows it: derived lines about its images."""

    images: str
    sizes: str
    groups: str
    ranges: list[tuple[str, float, float, float]]


@dataclass(frozen=True, eq=False)
class ReportContents:
    """Everything the report shows.

    ``validation``: ``validation.json``, as docs/architecture.md fixes it.
    ``examples``: good images and pseudo-defects; must hold the highest-scoring good ones and the lowest-scoring defects, since
    the worst errors are taken from here. ``study``: trials ``{"number", "state", "value", "params", "seconds", "reason"}``.
    ``templates``: (H, W, C) that parts are compared with; ``matched``: good training
    images that one of them was laid on.
    ``schedule``: (progress 0..1, lowest difficulty, highest difficulty). ``learning``: (``learning_unit``, loss).
    """

    metrics: Metrics
    validation: dict[str, Any]
    examples: list[Example]
    study: list[dict[str, Any]]
    schedule: list[tuple[float, float, float]]
    learning: list[tuple[float, float]]
    record: BatchRecord
    learning_unit: str = "step"
    templates: Sequence[Pixels] = ()
    matched: int = 0


def write_report(target: Path, contents: ReportContents) -> None:
    """Write the page to ``target`` and ``good.png`` and ``defects.png`` beside it; the same contents give the same bytes."""
    scale = ColourScale(contents.metrics.pixel_threshold)
    good = [example for example in contents.examples if example.kind == "good"]
    families = by_family(contents.examples)
    share = max(1, SHEET_DEFECTS // max(1, len(families)))
    write_sheet(target.with_name("good.png"), spread(sorted(good, key=lambda e: (-e.score, e.name)), SHEET_GOOD), scale)
    defects = [example for members in families.values() for example in spread(members, share)]
    write_sheet(target.with_name("defects.png"), defects[: 2 * SHEET_DEFECTS], scale)
    write_text(target, page(contents, scale))


def page(contents: ReportContents, scale: ColourScale) -> str:
    """The report as HTML."""
    environment = templates(Path(__file__).parent)
    environment.filters |= {
        "number": wording.number,
        "percent": wording.percent,
        "duration": wording.duration,
        "bounds": wording.bounds,
        "figure": lambda value: (
            wording.number(value) if wording.known(value) and not isinstance(value, bool) else wording.plain(value)
        ),
        "gate_figure": gate_figure,
        "flat": wording.flat,
        "bar": charts.bar,
    }
    metrics = contents.metrics
    return environment.get_template("report.html.j2").render(
        m=metrics,
        validation=contents.validation,
        record=contents.record,
        batch=about_batch(contents),
        shown=Galleries.of(contents, scale),
        families=family_order(metrics.families),
        comparison=comparison(metrics),
        overkill_chart=charts.interval(metrics.overkill, axis_top(metrics.overkill), metrics.overkill_target),
        escape_chart=charts.interval(metrics.escape, axis_top(metrics.escape)),
        choices=some_choices(metrics.trade_off, metrics.threshold),
        trade_off_chart=charts.trade_off_chart(metrics.trade_off, metrics.threshold),
        histogram=histogram(metrics),
        narrow_histogram=histogram(metrics, NARROW),
        legend=legend(scale),
        halo="rgb({},{},{})".format(*HALO),
        outline="rgb({},{},{})".format(*OUTLINE),
        shade="rgb({},{},{})".format(*SHADE),
        shade_opacity=OPACITY,
        trials=sorted(contents.study, key=lambda trial: trial["number"])[:LISTED],
        trial_count=len(contents.study),
        best=best_trial(contents.study),
        trials_chart=charts.trials_chart(contents.study),
        narrow_trials_chart=charts.trials_chart(contents.study, 460),
        schedule_chart=charts.schedule_chart(contents.schedule) if contents.schedule else Markup(""),
        learning_chart=charts.learning_chart(contents.learning, contents.learning_unit),
        listed=LISTED,
        templates=[
            data_uri(fitted(rgb(image), TEMPLATE_SIDE), ".jpg", (cv2.IMWRITE_JPEG_QUALITY, 84))
            for image in contents.templates[:TEMPLATES_SHOWN]
        ],
        matched=contents.matched,
    )


def _small(image: Pixels) -> str:
    return data_uri(fitted(rgb(image), TEMPLATE_SIDE), ".jpg", (cv2.IMWRITE_JPEG_QUALITY, 84))


@dataclass(frozen=True, eq=False)
class Galleries:
    """The pictures of the page: every shown example is embedded once, in ``all``, and named by the galleries that show it."""

    all: list[Picture]
    false_alarms: list[Picture]
    closest_good: list[Picture]
    escapes: list[Picture]
    closest_defects: list[Picture]
    not_judged: list[Picture]
    good: list[Picture]
    good_count: int
    families: dict[str, list[Picture]]
    defect_count: int
    columns: int

    @classmethod
    def of(cls, contents: ReportContents, scale: ColourScale) -> "Galleries":
        """Choose, embed once, and lay out."""
        examples = contents.examples
        good = [example for example in examples if example.kind == "good"]
        grouped = by_family(examples)
        alarms, escapes = worst_false_alarms(examples, WORST), worst_escapes(examples, WORST)
        near_good = [] if alarms else closest_calls(examples, "good", CLOSE)
        near_defects = [] if escapes else closest_calls(examples, "defect", CLOSE)
        missed = not_judged(examples, WORST)
        order = [name for name, _ in family_order(contents.metrics.families)]
        names = sorted(grouped, key=lambda name: (order.index(name) if name in order else len(order), name))
        ratio = median(e.image.shape[1] / e.image.shape[0] for e in examples) if examples else 1.0
        columns = 4 if ratio < 1.8 else 3 if ratio < 3.2 else 2
        rows = min(max(1, DEFECT_ROWS // max(1, len(names))), 2)
        families = {name: spread(grouped[name], columns * rows) for name in names}
        shown_good = spread(good, columns * GOOD_ROWS)
        wanted = [
            *alarms,
            *near_good,
            *escapes,
            *near_defects,
            *missed,
            *shown_good,
            *(e for members in families.values() for e in members),
        ]
        distinct = list({id(example): example for example in wanted}.values())
        pictures = embed_all(distinct, [*alarms, *near_good, *escapes, *near_defects, *missed], scale, PICTURE_BUDGET)
        found = {id(picture.example): picture for picture in pictures}

        def of(chosen: list[Example]) -> list[Picture]:
            return [found[id(example)] for example in chosen]

        return cls(
            all=pictures,
            false_alarms=of(alarms),
            closest_good=of(near_good),
            escapes=of(escapes),
            closest_defects=of(near_defects),
            not_judged=of(missed),
            good=of(shown_good),
            good_count=len(good),
            families={name: of(members) for name, members in families.items()},
            defect_count=len(examples) - len(good),
            columns=columns,
        )


def family_order(families: Mapping[str, Family]) -> list[tuple[str, Family]]:
    """Families as (name, figures): held-out ones first, the most escapes first."""
    return sorted(families.items(), key=lambda item: (not item[1].held_out, -item[1].escape.rate, item[0]))


def axis_top(rate: Rate) -> float:
    """End of a rate's axis: the next of 4, 10, 20, 40, 60, 80 and 100 % that holds its upper bound."""
    return next((top for top in (0.04, 0.1, 0.2, 0.4, 0.6, 0.8) if rate.high <= top), 1.0)


def some_choices(choices: Sequence[Choice], shipped: float) -> list[tuple[Choice, bool]]:
    """At most seven of the thresholds that could be chosen, evenly over those that there are, the ``shipped`` one among them;
    and of each whether it is that one."""
    step = max((len(choices) - 1) / 6.0, 1.0)
    wanted = {round(n * step) for n in range(7)} | {n for n, choice in enumerate(choices) if choice.threshold == shipped}
    return [(choice, choice.threshold == shipped) for n, choice in enumerate(choices) if n in wanted]


def gate_figure(value: Any, gate: str) -> Any:
    """A gate's value or limit: in percent where the gate is about overkill, escape or what is not judged, which are rates."""
    about = any(word in gate.lower() for word in ("overkill", "escape", "not judged"))
    rate = wording.known(value) and not isinstance(value, bool) and about
    return wording.percent(value) if rate else wording.number(value) if wording.known(value) else wording.plain(value)


def comparison(metrics: Metrics) -> list[dict[str, Any]]:
    """Rows of this model against the champion: name, both values, and the difference in words; empty without a champion."""
    champion = metrics.champion
    if champion is None:
        return []
    rows: list[dict[str, Any]] = []
    for key, mine, theirs in (
        ("overkill", metrics.overkill, champion.overkill), ("escape", metrics.escape, champion.escape)
    ):  # fmt: skip
        words = better(theirs.rate - mine.rate, "fewer", "more")
        if mine.rate != theirs.rate and mine.low <= theirs.high and theirs.low <= mine.high:
            words += "; may be chance: the 95\u00a0% bounds overlap"
        rows.append({"key": key, "rate": True, "mine": mine, "theirs": theirs, "words": words})
    for key, ours, other in (
        ("image_auroc", metrics.image_auroc, champion.image_auroc), ("pixel_ap", metrics.pixel_ap, champion.pixel_ap)
    ):  # fmt: skip
        rows.append({"key": key, "rate": False, "mine": ours, "theirs": other, "words": better(ours - other, "higher", "lower")})
    return rows


def better(gain: float, good: str, bad: str) -> str:
    """A difference in words; ``gain`` is positive where this model is better."""
    return "the same" if gain == 0 else f"{good} (better)" if gain > 0 else f"{bad} (worse)"


def histogram(metrics: Metrics, shape: Shape = BROAD) -> Markup:
    """The score chart: calibrate and test good images, then pseudo-defects; what was not judged has no score."""
    scores = metrics.scores
    rows = []
    for name, use, found in (
        ("Good, calibrate", "; set the threshold", scores.calibrate),
        ("Good, test", "; give the overkill", scores.test),
        ("Pseudo-defects", "", scores.defects),
    ):
        shown = judged(found)
        missed = f"; {len(found) - len(shown)} not judged" if len(shown) < len(found) else ""
        rows.append(Row(name, f"{len(found)} images{use}{missed}", shown))
    return score_histogram(rows, metrics.threshold, shape)


def best_trial(study: Sequence[Mapping[str, Any]]) -> Any:
    """Number of the trial with the highest value, or None."""
    done = [trial for trial in study if wording.known(trial["value"])]
    return max(done, key=lambda trial: (trial["value"], -trial["number"]))["number"] if done else None


def about_batch(contents: ReportContents) -> ContentsOfBatch:
    """Sizes, parts and the spread of brightness, contrast and sharpness over the batch's images."""
    images = contents.record.images
    sizes: dict[str, int] = {}
    for image in images:
        size = f"{image.width} × {image.height}, {'grey' if image.channels == 1 else 'colour'}"
        sizes[size] = sizes.get(size, 0) + 1
    common = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))
    shown = "; ".join(size if len(sizes) == 1 else f"{size} ({n})" for size, n in common[:4])
    groups = len({image.group for image in images if image.group is not None})
    ranges = []
    for key in ("brightness", "contrast", "sharpness"):
        values = [fact[key] for fact in contents.validation["facts"] if wording.known(fact.get(key))]
        if values:
            ranges.append((key, min(values), median(values), max(values)))
    return ContentsOfBatch(
        images=wording.number_text(len(images)),
        sizes=shown + (f"; {len(sizes) - 4} more sizes" if len(sizes) > 4 else ""),
        groups=wording.number_text(groups) if groups else "not stated: every image counts as its own part",
        ranges=ranges,
    )
