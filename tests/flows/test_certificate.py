"""The certificate: what is on it, that it says so when nothing is proven, and that it prints."""

import html
import re
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.errors import BadSettings, ChangeoverError
from flows.plant import Plant
from flows.records import certificate as certificates
from flows.records.certificate import certificate, write_certificate
from flows.records.trail import database, kept_heads
from models.evaluation.metrics_file import Training
from registry.client.sign_off import SignOff
from registry.client.sign_off import sign_off as sign
from registry.client.versions import Version, register
from registry.trail.audit import head
from registry.trail.events import Event

from ..page_layout import layout_faults
from ..registry.conftest import request_for, running
from .test_cli import changeover
from .test_trail import append, cut

NOW = datetime(2026, 11, 21, 6, 30, tzinfo=UTC)
DIGEST, IMAGES, COMMIT = "ab" * 32, "cd" * 32, "c0ffee" * 6
TAGS = {"qa.waiver": "the gate counts <dust>", "qa.waiver.by": "bo", "qa.waiver.at": "2026-11-21T06:00:00+00:00"}
VERSION = Version(
    "bolt", "3", "2026-11-21-a", DIGEST, IMAGES, COMMIT, "failed", "approved", ("champion",), 0.4375, NOW, "1" * 32, "m-1", TAGS
)
TAGS |= {"changeover.requested_by": "user:otto"}
SIGNED = SignOff(
    product="bolt", version="3", decision="approved", reason="looks <b>right</b>", by="ana", at="2026-11-21T06:10:00+00:00",
    name="Ana Huber", meaning="responsible", way="page", valid=True, problem="",
)  # fmt: skip
NAMES = {"bo": "Bo Lindqvist", "otto": "Otto Kern"}
HEAD = f"2:{'e' * 64}"


def event(seq: int, **changes: object) -> Event:
    fields = {"actor": "ana", "action": "tag.set", "product": "bolt", "version": "3", "subject": "qa", "after": "approved"}
    fields |= {"allowed": True, "time": NOW, "seq": seq, "previous": "d" * 64, "hash": "e" * 64}
    return Event.model_validate(fields | changes)


EVENTS = [
    event(1, actor="trainer", action="register", subject="", after="models:/m-1"),
    event(2, reason="<script>alert(1)</script>"),
    event(3, allowed=False, actor="vic", reason="only role qa"),
]


def test_it_names_everything_and_runs_nothing() -> None:
    page = certificate(VERSION, SIGNED, EVENTS, [], HEAD, 7, NOW)
    for fact in (DIGEST, IMAGES, COMMIT, "2026-11-21-a", "0.4375", HEAD, "the gate counts &lt;dust&gt;", "waived by bo"):
        assert fact in page, fact
    assert "looks &lt;b&gt;right&lt;/b&gt;" in page and "&lt;script&gt;alert(1)" in page
    assert "Approved by Ana Huber (ana), and in use as champion" in page
    assert "7, all of them agree" in page
    assert page.count("only role qa") == 1 and "refused" in page
    assert not re.search(r"<script|<link|<img|src=|href=|url\(|@import", page)
    assert certificate(VERSION, SIGNED, EVENTS, [], HEAD, 7, NOW) == page


def facts_of(page: str) -> dict[str, str]:
    """The page's definitions, without markup."""
    return {
        what: html.unescape(re.sub("<[^>]*>", "", told)) for what, told in re.findall(r"<dt>(.*?)</dt><dd.*?>(.*?)</dd>", page)
    }


def test_it_says_who_signed_how_and_who_asked() -> None:
    facts = facts_of(certificate(VERSION, SIGNED, EVENTS, [], HEAD, 7, NOW, names=NAMES))
    assert (facts["By"], facts["User"], facts["At"]) == ("Ana Huber", "ana", "2026-11-21T06:10:00+00:00")
    assert (facts["Meaning"], facts["Given"]) == ("responsible", "on the review page, with the report opened there")
    assert facts["Asked for by"] == "Otto Kern (otto), user of the registry"
    assert "waived by Bo Lindqvist (bo), 2026-11-21T06:00:00+00:00: the gate counts <dust>" in facts["Gates"]
    by_account = replace(VERSION, tags={"changeover.requested_by": "os:shift2"})
    for way, words in (("terminal", "with a command in a terminal"), ("tag", "by setting tags, without the review page")):
        facts = facts_of(certificate(by_account, replace(SIGNED, way=way, name="ana"), EVENTS, [], HEAD, 7, NOW))
        assert facts["Given"] == words and facts["Asked for by"] == "shift2, account of the operating system"
        assert facts["By"] == facts["User"] == "ana"
    older = certificate(replace(VERSION, tags={}), replace(SIGNED, way="", meaning="", name=""), EVENTS, [], HEAD, 7, NOW)
    facts = facts_of(older)
    assert facts["Given"] == facts["Meaning"] == facts["Asked for by"] == "not recorded" and facts["By"] == "ana"


def test_nothing_on_it_is_hidden_or_turned_round() -> None:
    evil = "\x1b[2J\u202egnp.exe\u200b\u2066\u2028\x85<i>\r\nnext"
    tags = dict.fromkeys(TAGS, evil)
    record = replace(VERSION, batch=evil, images=evil, commit=evil, gates=evil, run_id=evil, aliases=(evil,), tags=tags)
    signed = replace(SIGNED, reason=evil, by=evil, at=evil, name=evil, meaning=evil, way=evil)
    events = [event(1, reason=evil, actor=evil, subject=evil, before=evil, after=evil), event(2, actor=evil, subject="qa")]
    for problems, state in (([], signed), ([evil], signed), ([], replace(signed, valid=False, problem=evil))):
        page = certificate(record, state, events, problems, HEAD, 7, NOW, Training(teacher={"name": evil}), {evil: evil})
        assert all(line.isprintable() for line in page.split("\n"))
        assert "\\x1b[2J\\u202egnp.exe\\u200b\\u2066\\u2028\\x85&lt;i&gt;\nnext" in page and "<i>" not in page


def test_it_says_what_does_not_hold() -> None:
    assert "Nothing on this page is proven" in certificate(VERSION, SIGNED, [], ["event 3 was edited"], HEAD, 7, NOW)
    exchanged = replace(SIGNED, valid=False, problem="the model file was exchanged")
    assert "Approved, but the sign-off does not hold.<p>the model file was exchanged" in certificate(
        VERSION, exchanged, EVENTS, [], HEAD, 7, NOW
    )
    rejected = replace(SIGNED, decision="rejected", valid=False, problem="not approved")
    assert "Rejected by Ana Huber (ana): not for use on a line" in certificate(VERSION, rejected, EVENTS, [], HEAD, 0, NOW)
    pending = replace(SIGNED, decision="pending", by="", at="", reason="", valid=False, problem="pending")
    page = certificate(replace(VERSION, threshold=None, aliases=(), tags={}), pending, [], [], HEAD, 0, NOW)
    assert "Pending: not for use on a line" in page and "a cut-off end would not show" in page and "waived" not in page


def test_other_endings_are_refused(plant: Plant) -> None:
    with pytest.raises(BadSettings, match=r"ends with '\.doc'; let it end with \.html or \.pdf"):
        write_certificate(plant, "bolt", 1, Path("x.doc"))


def test_without_a_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "BROWSERS", ("no-such-browser",))
    with pytest.raises(ChangeoverError, match="no Chromium to print a PDF with"):
        certificates._print("<p>x", tmp_path / "c.pdf")
    failing = tmp_path / "browser"
    failing.write_text("#!/bin/sh\necho no display >&2\nexit 1\n")
    failing.chmod(0o755)
    monkeypatch.setattr(certificates, "BROWSERS", (str(failing),))
    with pytest.raises(ChangeoverError, match=r"printed no PDF \(no display\)"):
        certificates._print("<p>x", tmp_path / "c.pdf")
    assert not (tmp_path / "c.pdf").exists()


@pytest.mark.browser
def test_it_prints(tmp_path: Path) -> None:
    if not any(map(shutil.which, certificates.BROWSERS)):
        pytest.skip("Chromium is not installed")
    many = [event(number, reason="because it was looked at " * 3) for number in range(1, 80)]
    certificates._print(certificate(VERSION, SIGNED, many, [], HEAD, 7, NOW), tmp_path / "c.pdf")
    made = (tmp_path / "c.pdf").read_bytes()
    assert made.startswith(b"%PDF-") and made.rstrip().endswith(b"%%EOF")
    assert [path.name for path in tmp_path.iterdir()] == ["c.pdf"]


@pytest.mark.browser
@pytest.mark.skipif(not Path("/usr/bin/chromium").exists(), reason="no chromium at /usr/bin/chromium")
def test_its_layout_holds_at_every_width_and_on_paper(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    events = [
        *EVENTS,
        event(4, allowed=False, actor="vic", reason="only role qa may sign a version; ask an administrator for the role"),
        event(
            5, actor="a-person-with-a-long-name@plant.example", subject="qa.reason", after="looked at " * 9, reason="why " * 30
        ),
        event(6, actor="publisher", action="publish", subject="/srv/plant/published/bolt/3", after="b" * 64),
    ]
    pages = {
        "approved": certificate(VERSION, SIGNED, events, [], HEAD, 7, NOW, names=NAMES),
        "broken": certificate(replace(VERSION, product="p" * 90), SIGNED, [], ["event 3 was edited " * 9] * 30, HEAD, 0, NOW),
    }
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        for name, text in pages.items():
            page.set_content(text)
            assert layout_faults(page) == [], name
        browser.close()


@pytest.mark.servers
@pytest.mark.slow
def test_a_certificate_of_a_signed_version(plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (plant.path / "changeover.yaml").write_text("products: {bolt: {preset: quick}}\n")
    target = tmp_path / "bolt.html"
    with running(plant.state / "mlflow") as registry:
        monkeypatch.setattr(certificates, "connect_as", lambda *_: registry.trainer)
        record = register(registry.trainer, request_for(tmp_path, "bolt", "a"))
        sign(registry.ana, "bolt", record.version, "approved", "all worst cases looked at")
        monkeypatch.setattr("flows.steps.promote.connect_as", lambda *_: registry.promoter)
        assert "is now the champion" in changeover("promote", "--product", "bolt").stdout
        assert kept_heads(plant).heads == (head(database(plant)),)
        assert changeover("audit", "verify").exit_code == 0
        result = changeover("audit", "certificate", "--product", "bolt", "--version", 1, "--out", target)
        assert result.exit_code == 0, result.output
        page = target.read_text()
        assert "Approved by Ana Example (ana), and in use as champion" in page
        assert record.digest in page and "1, all of them agree" in page
        facts = facts_of(page)
        assert (facts["By"], facts["User"], facts["Meaning"]) == ("Ana Example", "ana", "approved")
        assert facts["Given"] == "with a command in a terminal"
        assert facts["Asked for by"].endswith(", account of the operating system")
        cut(plant, 2)
        append(plant, 3, actor="mallory")
        result = changeover("audit", "certificate", "--product", "bolt", "--version", 1, "--out", target)
        assert result.exit_code == 1
        assert "Nothing on this page is proven" in target.read_text() and "mallory" not in target.read_text()
    assert changeover("audit", "verify").exit_code == 1
    assert Path(database(plant)).exists()
