"""The QA report as a file: complete, offline, escaped, honest in its numbers, small, and the same at every writing."""

import re
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from core.errors import BadModel
from data.batch import BatchRecord, ImageRecord, Rejection
from models.evaluation.metrics_file import Metrics
from models.evaluation.rate import rate
from models.report.example import Example, closest_calls, spread, worst_escapes, worst_false_alarms
from models.report.page import ReportContents, write_report
from tests.models.report_contents import champion, contents
from tests.page_layout import layout_faults

HOSTILE = '"><script>alert(1)</script><img src=https://evil.example/x onerror=alert(1)>{{ 7*7 }}\u202e.png'


class Page(HTMLParser):
    """What a reader of the page gets: addresses, ids, ``<data>`` values, tags and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.pointed: list[str] = []
        self.tags: set[str] = set()
        self.values: list[float] = []
        self.inside: dict[str, list[float]] = {}
        self.text = ""
        self._id = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for key, value in attrs:
            assert not key.startswith("on"), f"a script hides in {tag} {key}"
            if key in ("src", "href", "xlink:href", "action", "poster", "srcset", "background"):
                self.addresses.append(value or "")
            if key in ("popovertarget", "for"):
                self.pointed.append(value or "")
            if key == "id":
                self.ids.append(value or "")
                self._id = value or ""
            if key == "value" and tag == "data":
                self.values.append(float(value or "nan"))
                self.inside.setdefault(self._id, []).append(float(value or "nan"))

    def handle_data(self, data: str) -> None:
        self.text += data


def written(tmp_path: Path, report: ReportContents) -> tuple[str, Page]:
    """The page as text and parsed; both contact sheets are checked to be pictures."""
    target = tmp_path / "report" / "report.html"
    write_report(target, report)
    for name in ("good.png", "defects.png"):
        assert cv2.imread(str(target.with_name(name))) is not None
    assert {path.name for path in target.parent.iterdir()} == {"report.html", "good.png", "defects.png"}
    html = target.read_text(encoding="utf-8")
    return html, Page(html)


def small(**changes: Any) -> ReportContents:
    """Contents that are quick to write."""
    return contents(**({"n_good": 6, "n_defects": 8, "size": (64, 72)} | changes))


def changed(report: ReportContents, **parts: Any) -> ReportContents:
    """With other ``parts`` of its ``metrics.json``."""
    return replace(report, metrics=Metrics.model_validate(report.metrics.as_json() | parts))


def failed_gates(report: ReportContents) -> ReportContents:
    gates = report.metrics.as_json()["gates"]
    gates[1] |= {"passed": False, "text": "too many escape"}
    return changed(report, passed=False, gates=gates)


def nothing_measured(report: ReportContents) -> ReportContents:
    report.validation["facts"] = []
    empty = asdict(rate(0, 0))
    nothing = changed(report, overkill=empty, escape=empty, image_auroc=0.5, pixel_ap=0.0, families={}, scores={})
    return replace(nothing, examples=[], study=[], schedule=[], learning=[])


def some_not_judged(report: ReportContents) -> ReportContents:
    """The first good image and the first defect."""
    kinds = [e.kind for e in report.examples]
    missed = {kinds.index("good"), kinds.index("defect")}
    examples = [replace(e, verdict=True, judged=False) if n in missed else e for n, e in enumerate(report.examples)]
    scores = report.metrics.as_json()["scores"]
    scores = {**scores, "test": [None, *scores["test"][1:]], "defects": [None, *scores["defects"][1:]]}
    numbers = {"calibrate": 3, "test": 1, "defects": 1}
    return replace(changed(report, not_judged=numbers, scores=scores), examples=examples)


def with_templates() -> ReportContents:
    """Of a network that compares with three long pictures, of which 200 of 210 good training images match one."""
    report = small()
    pictures = [np.full((120, 900, 1), 40 * n, np.uint8) for n in (1, 2, 3)]
    return replace(report, templates=pictures, matched=200)


VARIANTS = {
    "first model": small,
    "some not judged": lambda: some_not_judged(small()),
    "champion": lambda: changed(small(), champion=champion()),
    "failed gates": lambda: failed_gates(small()),
    "no trials": lambda: replace(small(), study=[], schedule=[], learning=[]),
    "one image": lambda: small(n_good=1, n_defects=0, alarms=0),
    "only defects": lambda: replace(small(), examples=[e for e in small().examples if e.kind == "defect"]),
    "colour": lambda: small(channels=3),
    "long and narrow": lambda: small(size=(40, 260)),
    "nothing measured": lambda: nothing_measured(small()),
    "templates": with_templates,
    "loss became NaN": lambda: replace(small(), learning=[(0, 1.0), (1, float("nan"))]),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_page_is_whole_and_offline(name: str, tmp_path: Path) -> None:
    html, page = written(tmp_path, VARIANTS[name]())
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)
    assert set(page.pointed) <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert not page.tags & {"script", "iframe", "object", "embed", "form", "base"}
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in html
    assert not re.search(r"url\(|@import|https?://|//cdn", html)
    words = re.sub(r"data:image/[^\"]+", "", html)
    assert not re.search(r"\b(nan|inf|Undefined)\b|>None<|: None", words)
    for section in ("gates", "champion", "scores", "errors", "families", "good", "defects", "batch", "tried", "record"):
        assert section in page.ids


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    report = small()
    before = report.metrics.as_json()
    report = changed(
        report, product=HOSTILE, batch=HOSTILE, guarantee=HOSTILE, champion={**champion(), "batch": HOSTILE},
        families={HOSTILE: before["families"]["stroke"]},
        settings={HOSTILE: {HOSTILE: [HOSTILE]}, "fused": HOSTILE, "teacher": HOSTILE},
        training={**before["training"], "warm_start": {"product": HOSTILE, "version": HOSTILE}, HOSTILE: HOSTILE},
        gates=[{**before["gates"][0], "name": HOSTILE, "text": HOSTILE}, *before["gates"][1:]],
    )  # fmt: skip
    report.validation["checks"][0] |= {"name": HOSTILE, "text": HOSTILE, "images": [HOSTILE], "observed": HOSTILE}
    report.study[0] |= {"params": {HOSTILE: HOSTILE}, "reason": HOSTILE, "state": HOSTILE}
    image = ImageRecord(name="a.png", source_name=HOSTILE, sha256="0", bytes=1, width=1, height=1, channels=1)
    record = BatchRecord(
        product="p", batch="b", digest="0", images=(image,), rejected=(Rejection(source_name=HOSTILE, reason=HOSTILE),)
    )
    examples = [replace(e, name=HOSTILE, family=None if e.family is None else HOSTILE) for e in report.examples]
    html, page = written(tmp_path, replace(report, examples=examples, record=record, learning_unit=HOSTILE))
    assert "<script" not in html
    assert "<img src=https" not in html
    assert "49" not in re.findall(r"onerror=alert\(1\)(?:&gt;|>)(\d+)", html)
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert HOSTILE in page.text


def test_the_record_names_families_teacher_and_warm_start(tmp_path: Path) -> None:
    text = " ".join(written(tmp_path, small())[1].text.split())
    assert "unet3plus + patchcore" in text and "0123456789ab); licence: <ours>" in text and "version 7 of disc-39" in text


def test_numbers_equal_the_metrics(tmp_path: Path) -> None:
    report = changed(small(), champion=champion())
    _, page = written(tmp_path, report)
    metrics = report.metrics.as_json()
    assert page.inside["overkill"][0] == metrics["overkill"]["rate"]
    assert page.inside["escape"][0] == metrics["escape"]["rate"]
    wanted = [metrics[key] for key in ("threshold", "overkill_target", "image_auroc", "pixel_ap")]
    for source in (metrics, metrics["champion"]):
        wanted += [source[key][field] for key in ("overkill", "escape") for field in ("count", "n", "rate", "low", "high")]
    for family in metrics["families"].values():
        wanted += [family["image_auroc"], family["pixel_ap"], family["escape"]["rate"], family["escape"]["count"]]
    wanted += [gate[field] for gate in metrics["gates"] for field in ("value", "limit")]
    wanted += [*metrics["images"].values(), *metrics["timing"].values()]
    assert set(wanted) <= set(page.values)
    assert metrics["guarantee"] in page.text
    assert metrics["model_digest"] in page.text


def test_verdict_in_words(tmp_path: Path) -> None:
    _, passed = written(tmp_path / "passed", small())
    assert "Passed: all 4 gates are met" in passed.text
    assert "first model of disc-40" in passed.text
    _, failed = written(tmp_path / "failed", failed_gates(small()))
    assert "Not passed: 1 of 4 gates is not met" in failed.text
    assert "Not met: escape." in failed.text
    assert "not a candidate" in failed.text


def test_page_stays_small_even_with_pictures_that_do_not_compress(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (700, 700, 3), dtype=np.uint8)
    examples = [
        replace(example, image=noise, map=rng.random((700, 700), dtype=np.float32), label=None)
        for example in contents(n_good=16, n_defects=32, size=(32, 32)).examples
    ]
    html, _ = written(tmp_path, replace(small(), examples=examples))
    assert len(html.encode()) < 6_000_000


def test_same_contents_same_bytes(tmp_path: Path) -> None:
    for run in ("one", "two"):
        write_report(tmp_path / run / "report.html", small())
    for name in ("report.html", "good.png", "defects.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_worst_errors_are_the_worst() -> None:
    examples = contents(n_good=20, n_defects=40, size=(16, 16), alarms=8).examples
    alarms = worst_false_alarms(examples, 5)
    assert [e.score for e in alarms] == sorted((e.score for e in examples if e.kind == "good" and e.verdict), reverse=True)[:5]
    escapes = worst_escapes(examples, 5)
    assert [e.score for e in escapes] == sorted(e.score for e in examples if e.kind == "defect" and not e.verdict)[:5]
    near = closest_calls(examples, "good", 1)[0]
    assert near.score == max(e.score for e in examples if e.kind == "good" and not e.verdict)
    assert spread(examples, 3) == [examples[0], examples[30], examples[-1]]


@pytest.mark.parametrize("broken", ["map", "label", "nan", "score", "image"])
def test_examples_that_contradict_themselves_are_refused(broken: str) -> None:
    good = contents(n_good=1, n_defects=0, size=(16, 20)).examples[0]
    changes: dict[str, Any] = {
        "map": {"map": good.map[:-1]},
        "label": {"label": np.zeros((3, 3), np.uint8)},
        "nan": {"map": np.full((16, 20), np.nan, np.float32)},
        "score": {"score": float("inf")},
        "image": {"image": good.image[..., 0]},
    }[broken]
    with pytest.raises(BadModel, match=re.escape(repr(good.name))):
        replace(good, **changes)


def test_outcomes_in_the_projects_words() -> None:
    good, defect = (next(e for e in contents(2, 2, (16, 16)).examples if e.kind == kind) for kind in ("good", "defect"))

    def outcome(example: Example, verdict: bool) -> tuple[str, bool]:
        changed = replace(example, verdict=verdict)
        return changed.outcome, changed.wrong

    assert outcome(good, True) == ("rejected: overkill", True)
    assert outcome(good, False) == ("passed", False)
    assert outcome(defect, True) == ("rejected", False)
    assert outcome(defect, False) == ("passed: escape", True)


@pytest.mark.browser
@pytest.mark.skipif(not Path("/usr/bin/chromium").exists(), reason="no chromium at /usr/bin/chromium")
def test_in_a_browser(tmp_path: Path) -> None:
    """The page asks for nothing, fits a tablet, and a picture opens, toggles its map and closes by keyboard alone."""
    from playwright.sync_api import sync_playwright

    write_report(tmp_path / "report.html", small())
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 800, "height": 1000})
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on(
            "request", lambda request: complaints.append(request.url) if not request.url.startswith(("data:", "file:")) else None
        )
        page.goto((tmp_path / "report.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 800
        page.locator(".enlarge").first.focus()
        page.keyboard.press("Enter")
        large = page.locator(".large:popover-open")
        assert large.is_visible()
        layer = large.locator(".layer-map")
        assert layer.evaluate("node => getComputedStyle(node).display") != "none"
        page.keyboard.press("Tab")
        page.keyboard.press("Space")
        assert layer.evaluate("node => getComputedStyle(node).display") == "none"
        page.keyboard.press("Escape")
        assert page.locator(".large:popover-open").count() == 0
        assert complaints == []
        browser.close()


def long_names() -> ReportContents:
    """Names as long as people make them, without a place to break them."""
    report, long = small(), "housing_cover_left_" * 4
    before = report.metrics.as_json()
    before["gates"][2] |= {"name": long, "text": f"Pixel AP 0.48 of {long} is at least 0.3."}
    report = changed(
        report, product=long, batch=long, champion={**champion(), "batch": long}, gates=before["gates"],
        families={f"{name}_{long}": figures for name, figures in before["families"].items()},
    )  # fmt: skip
    report.validation["checks"][4]["images"] = [f"{n}-{long}.png" for n in range(9)]
    rejected = (Rejection(source_name=f"{long}/{long}.png", reason="damaged: row 31 is missing"),)
    record = report.record.model_copy(update={"rejected": rejected})
    examples = [replace(e, name=f"{long}{e.name}", family=e.family and f"{e.family}_{long}") for e in report.examples]
    return replace(report, record=record, examples=examples)


@pytest.mark.browser
@pytest.mark.skipif(not Path("/usr/bin/chromium").exists(), reason="no chromium at /usr/bin/chromium")
def test_the_layout_holds_at_every_width_and_on_paper(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    made = {name: VARIANTS[name]() for name in ("champion", "nothing measured", "templates")}
    made["long names"] = failed_gates(long_names())
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        for name, report in made.items():
            write_report(tmp_path / "report.html", report)
            page.goto((tmp_path / "report.html").as_uri())
            assert layout_faults(page) == [], name
        browser.close()


def test_what_is_not_judged_is_said_beside_overkill_and_escape_and_shown(tmp_path: Path) -> None:
    report = some_not_judged(small(alarms=0))
    _, page = written(tmp_path, report)
    words = " ".join(page.text.split())
    assert "good images, of which 1 not judged." in words and "Of those that did not pass, 1 were not judged." in words
    assert "3 of 90 calibration images, 1 of 84 test images and 1 of 104 pseudo-defects" in words
    good, defect = (next(e for e in report.examples if e.kind == kind and not e.judged) for kind in ("good", "defect"))
    assert (good.outcome, good.wrong) == ("not judged: overkill", True) and (defect.outcome, defect.wrong) == (
        "not judged",
        False,
    )
    gallery = words[words.index("Not judged: the part was not found") : words.index("Defect families Pseudo-defects")]
    assert gallery.index(good.name) < gallery.index(defect.name)
    assert f"{len(report.metrics.scores.test)} images; give the overkill; 1 not judged" in words
    assert good not in worst_false_alarms(report.examples, 99) and defect not in closest_calls(report.examples, "defect", 99)
    _, plain = written(tmp_path, small())
    assert "not judged" not in plain.text.lower()


def test_the_report_shows_what_parts_are_compared_with(tmp_path: Path) -> None:
    html, page = written(tmp_path, with_templates())
    words = " ".join(page.text.split())
    assert "laid on the best of these 3 templates" in words and "Of 210 good training images, 200 match one." in words
    assert html.count('alt="template ') == 3
    plain, other = written(tmp_path, small())
    assert "templates" not in other.ids and "compared with" not in plain
