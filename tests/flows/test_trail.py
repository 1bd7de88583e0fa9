"""The head of the audit trail, kept in the plant's git history, and what 'changeover audit' makes of it."""

import csv
import io
import json
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from flows.plant import Plant
from flows.records.trail import check_head, database, keep_head, kept_heads, key_file
from registry.errors import Broken
from registry.trail.audit import head
from registry.trail.events import Entry, Trail

from .test_cli import changeover, the_error


def append(plant: Plant, count: int, **changes: Any) -> None:
    source = database(plant)
    if isinstance(source, Path):
        source.parent.mkdir(parents=True, exist_ok=True)
    trail = Trail(f"sqlite:///{source}" if isinstance(source, Path) else source, key_file(plant))
    trail.prepare()
    for number in range(count):
        fields = {"actor": "ana", "action": "tag.set", "product": "bolt", "version": "1", "subject": "qa", "after": "approved"}
        trail.append(Entry.model_validate(fields | {"allowed": number % 2 == 0, "reason": f"reason {number}"} | changes))
    trail.close()


def cut(plant: Plant, after: int) -> None:
    """As somebody who has the database: the end is gone, the triggers are there."""
    with sqlite3.connect(database(plant)) as raw:
        (sql,) = raw.execute("SELECT sql FROM sqlite_master WHERE name = 'changeover_events_no_delete'").fetchone()
        raw.execute("DROP TRIGGER changeover_events_no_delete")
        raw.execute("DELETE FROM changeover_events WHERE seq > ?", (after,))
        raw.execute(sql)
    raw.close()


def git(plant: Plant, *arguments: str) -> str:
    command = ["/usr/bin/env", "git", *arguments]
    return subprocess.run(command, cwd=plant.path, capture_output=True, text=True, check=True).stdout


def heads_file(plant: Plant) -> Path:
    (file,) = (plant.path / "audit").glob("*/*.jsonl")
    return file


def test_the_head_is_committed_where_it_changed(plant: Plant) -> None:
    append(plant, 3)
    assert keep_head(plant)
    assert not keep_head(plant)
    first = head(database(plant))
    append(plant, 2)
    assert keep_head(plant)
    now = datetime.now(UTC)
    lines = [json.loads(line) for line in heads_file(plant).read_text().splitlines()]
    assert [f"{line['number']}:{line['hash']}" for line in lines] == [first, head(database(plant))]
    assert all(abs(datetime.fromisoformat(line["time"]) - now) < timedelta(minutes=1) for line in lines)
    assert git(plant, "log", "--format=%s", "-2").splitlines()[0] == f"Audit trail: 5 events, head {lines[1]['hash'][:12]}"
    assert git(plant, "status", "--porcelain") == ""
    assert kept_heads(plant).heads == (first, head(database(plant)))
    assert changeover("audit", "verify").stdout.splitlines()[-1] == "2 heads that were kept agree"


def test_a_head_that_was_written_and_not_committed_is_committed_next_time(plant: Plant) -> None:
    append(plant, 1)
    keep_head(plant)
    git(plant, "reset", "--quiet", "--mixed", "HEAD~1")
    assert git(plant, "status", "--porcelain") == "?? audit/\n"
    assert not keep_head(plant)
    assert git(plant, "status", "--porcelain") == ""


def test_other_changes_are_left_alone(plant: Plant) -> None:
    (plant.path / "notes.txt").write_text("mine")
    git(plant, "add", "notes.txt")
    append(plant, 1)
    keep_head(plant)
    assert git(plant, "status", "--porcelain") == "A  notes.txt\n"


def test_a_cut_end_is_found_and_not_covered_up(plant: Plant) -> None:
    append(plant, 5)
    keep_head(plant)
    cut(plant, 3)
    before = heads_file(plant).read_bytes()
    with pytest.raises(Broken, match="the trail ends with event 3, but event 5 existed: its end was cut off"):
        keep_head(plant)
    assert heads_file(plant).read_bytes() == before
    (plant.path / "changeover.yaml").write_text("products: {bolt: {}}\n")
    result = changeover("promote", "--product", "bolt")  # before it asks the registry anything
    assert result.exit_code == 2 and "promote nothing until it is explained" in result.stderr
    result = changeover("audit", "verify")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == ["the trail ends with event 3, but event 5 existed: its end was cut off"]
    append(plant, 4, actor="mallory")
    result = changeover("audit", "verify")
    assert result.exit_code == 1 and "event 5 is not the one that was there" in result.stdout
    with pytest.raises(Broken, match="the trail was rewritten"):
        keep_head(plant)


def test_heads_taken_out_of_git_still_count(plant: Plant) -> None:
    append(plant, 5)
    keep_head(plant)
    shutil.rmtree(plant.path / "audit")
    cut(plant, 3)
    assert "event 5 existed: its end was cut off" in changeover("audit", "verify").stdout
    git(plant, "commit", "--quiet", "--all", "--message", "tidy up")
    lines = changeover("audit", "verify").stdout.splitlines()
    assert any("its end was cut off" in line for line in lines)
    assert any("a kept head was taken out of audit by a commit" in line for line in lines)


def test_promotion_asks_every_witness(plant: Plant) -> None:
    """The end of the trail is cut off and the last kept head deleted with it, without a commit: git's history holds both."""
    append(plant, 3)
    keep_head(plant)
    append(plant, 2)
    keep_head(plant)
    assert check_head(plant) == ()
    cut(plant, 3)
    file = heads_file(plant)
    file.write_text(file.read_text().splitlines(keepends=True)[0])
    for _ in range(2):
        with pytest.raises(Broken, match=r"event 5 existed: its end was cut off; promote nothing until it is explained"):
            check_head(plant)
    git(plant, "commit", "--quiet", "--all", "--message", "tidy up")
    append(plant, 2, actor="mallory")
    with pytest.raises(Broken, match="the trail was rewritten"):
        check_head(plant)
    (plant.path / "changeover.yaml").write_text("products: {bolt: {}}\n")
    result = changeover("promote", "--product", "bolt")
    assert result.exit_code == 2 and "promote nothing" in result.stderr


def test_a_head_taken_out_by_a_commit_stops_promotion(plant: Plant) -> None:
    append(plant, 3)
    keep_head(plant)
    check_head(plant)
    heads_file(plant).unlink()
    git(plant, "commit", "--quiet", "--all", "--message", "tidy up")
    with pytest.raises(Broken, match="was taken out of audit by a commit"):
        check_head(plant)


def test_a_history_that_was_rewritten_is_read_anew(plant: Plant) -> None:
    append(plant, 3)
    keep_head(plant)
    check_head(plant)
    git(plant, "commit", "--quiet", "--amend", "--message", "another")
    check_head(plant)
    (plant.state / "heads-in-git.json").write_text("[]")
    check_head(plant)


def test_a_clock_that_ran_ahead_has_not_the_last_word(plant: Plant) -> None:
    append(plant, 1)
    keep_head(plant)
    file = heads_file(plant)
    ahead = file.parents[1] / str(int(file.parent.name) + 1) / "01-01.jsonl"
    ahead.parent.mkdir()
    file.rename(ahead)
    git(plant, "add", "audit")
    git(plant, "commit", "--quiet", "--message", "the clock was 400 days ahead")
    append(plant, 1)
    assert keep_head(plant)
    assert not keep_head(plant), "the head of today is the last, though its file's name is not"
    cut(plant, 1)
    with pytest.raises(Broken, match="event 2 existed"):
        keep_head(plant)


def test_an_edited_file_of_heads(plant: Plant) -> None:
    append(plant, 2)
    keep_head(plant)
    file = heads_file(plant)
    file.write_text(file.read_text() + '{"number": "3"}\n')
    assert f"{file}, line 2 is no head of the audit trail" in changeover("audit", "verify").stdout
    with pytest.raises(Broken, match="does not end with a head"):
        keep_head(plant)


def test_verify_and_head(plant: Plant) -> None:
    assert "no database at" in the_error(changeover("audit", "verify"))
    append(plant, 3)
    result = changeover("audit", "verify")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1] == "no head was kept yet, so a cut-off end would not show"
    kept = changeover("audit", "head").stdout.strip()
    assert kept == head(database(plant))
    cut(plant, 2)
    assert changeover("audit", "verify").exit_code == 0
    assert changeover("audit", "verify", "--head", kept).exit_code == 1
    assert "give '<number>:<sha256>'" in the_error(changeover("audit", "verify", "--head", "3"))


def test_list(plant: Plant) -> None:
    append(plant, 4)
    append(plant, 1, actor="bo", product="nut", version="2", action="alias.set", reason="=HYPERLINK(1)\n\x1b[31mred")
    (header, *rows) = changeover("audit", "list").stdout.splitlines()
    assert header.split("\t")[:5] == ["event", "time", "who", "action", "product"]
    assert [row.split("\t")[0] for row in rows] == ["1", "2", "3", "4", "5"]
    assert "\x1b" not in rows[4] and "=HYPERLINK(1) \\x1b[31mred" in rows[4]

    def numbers(*arguments: str) -> list[int]:
        return [one["seq"] for one in json.loads(changeover("audit", "list", "--json", *arguments).stdout)["events"]]

    assert numbers("--product", "bolt") == [1, 2, 3, 4]
    assert numbers("--refused") == [2, 4]
    assert numbers("--actor", "bo", "--action", "alias.set", "--version", "2") == [5]
    assert numbers("--since", "2020-01-01") == [1, 2, 3, 4, 5]
    assert numbers("--since", (datetime.now() + timedelta(days=1)).date().isoformat()) == []
    lines = list(csv.DictReader(io.StringIO(changeover("audit", "list", "--csv", "--actor", "bo").stdout)))
    assert lines[0]["reason"].startswith("'=HYPERLINK") and lines[0]["allowed"] == "True"
    assert "--since 'May'" in the_error(changeover("audit", "list", "--since", "May"))
    assert "give one of them" in the_error(changeover("audit", "list", "--csv", "--json"))


@pytest.mark.slow
def test_the_trail_of_a_plant_on_postgresql(plant: Plant, postgresql: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    address = sa.make_url(postgresql())
    monkeypatch.setenv("PGPASSWORD", str(address.password))
    (plant.path / "changeover.yaml").write_text(f"registry: {{database: '{address._replace(password=None)}', workers: 4}}\n")
    plant = Plant.open(plant.path)
    append(plant, 3)
    assert keep_head(plant)
    assert len(json.loads(changeover("audit", "list", "--json").stdout)["events"]) == 3
    assert changeover("audit", "head").stdout.strip() == head(database(plant))
    result = changeover("audit", "verify")
    assert result.exit_code == 0 and "the trail holds: 3 events" in result.stdout
    monkeypatch.setenv("PGPASSWORD", "wrong")
    assert "password authentication failed" in the_error(changeover("audit", "verify"))
