"""The attack list, continued: the database's owner. The gate sees nothing of it; the proof names each, by line."""

import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from registry.client.promote import promote
from registry.client.sign_off import sign_off, status
from registry.client.versions import Registration, Version, register
from registry.errors import Broken, Refused
from registry.trail.audit import head, read_events, verify
from registry.trail.entries import Entry, digest_of, row_of_event
from registry.trail.events import Trail
from registry.trail.key import key_file
from registry.trail.table import COLUMNS

from .conftest import PASSWORD, Registry, request_for, running

pytestmark = pytest.mark.servers
Make = Callable[..., Registration]
TRAIL = "changeover_events"


@dataclass(frozen=True)
class Copy:
    """The registry's database, with its key beside it as in a state folder: to be spoilt."""

    database: Path

    def run(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.database)) as raw, raw:
            for statement in statements:
                raw.executescript(statement)

    def owning(self, *statements: str) -> None:
        """Runs statements on the trail with its triggers taken away, and puts those back just as they were."""
        with closing(sqlite3.connect(self.database)) as raw, raw:
            found = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?"
            guards = list(raw.execute(found, (TRAIL,)))
            for name, _ in guards:
                raw.execute(f"DROP TRIGGER {name}")
            for statement in statements:
                raw.execute(statement)
            for _, body in guards:
                raw.execute(body)

    def appended(self, mac: str, **changed: object) -> None:
        """One more event that follows the last one rightly."""
        last = read_events(self.database)[-1]
        entry = Entry(actor="ana", action="tag.set", product="bolt", version="1", subject="qa", after="approved", allowed=True)
        entry = entry.model_copy(update=changed)
        digest = digest_of(entry, last.seq + 1, last.hash)
        event = last.model_copy(update={**entry.model_dump(), "time": entry.time, "seq": last.seq + 1, "previous": last.hash,
                                        "hash": digest, "mac": mac or last.mac})  # fmt: skip
        row = row_of_event(event)
        with closing(sqlite3.connect(self.database)) as raw, raw:
            marks = ", ".join("?" * len(COLUMNS))
            raw.execute(f"INSERT INTO {TRAIL} VALUES ({marks})", [row[name] for name in COLUMNS])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The state folder of a registry with some history, after its end."""
    folder = tmp_path_factory.mktemp("owned")
    with running(folder / "state") as registry:
        register(registry.trainer, request_for(folder, "bolt", "a"))
        sign_off(registry.ana, "bolt", "1", "approved", "fine")
        promote(registry.promoter, "bolt")
    yield folder / "state"


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Copy:
    state = tmp_path / "state"
    (state / "secrets").mkdir(parents=True)
    for file in whole.glob("mlflow.db*"):
        shutil.copy(file, state / file.name)
    shutil.copy(key_file(whole), key_file(state))
    return Copy(state / "mlflow.db")


LAST = f"(SELECT max(seq) FROM {TRAIL})"
OTHER_TABLES = {
    "a trigger that crowns": "CREATE TRIGGER help AFTER INSERT ON model_version_tags BEGIN UPDATE registered_model_aliases SET"
                             " version = 1 WHERE alias = 'champion'; END",
    "a trigger on aliases": "CREATE TRIGGER help AFTER UPDATE ON registered_model_aliases BEGIN"
                            " UPDATE registered_model_aliases SET version = 9; END",
    "a trigger that swallows": f"CREATE TRIGGER help BEFORE INSERT ON {TRAIL} WHEN NEW.actor = 'mallory' BEGIN"
                               " SELECT RAISE(IGNORE); END",
    "a trigger on experiments": "CREATE TRIGGER help AFTER DELETE ON experiments BEGIN SELECT 1; END",
    "a trigger named like ours": f"CREATE TRIGGER {TRAIL}_no_update2 BEFORE UPDATE ON {TRAIL} BEGIN SELECT 1; END",
    "a trigger of ours on another table": f"DROP TRIGGER {TRAIL}_no_update; CREATE TRIGGER {TRAIL}_no_update BEFORE UPDATE ON"
                                          " experiments BEGIN SELECT RAISE(ABORT, 'events are never changed'); END",
    "a view": "CREATE VIEW help AS SELECT * FROM model_versions",
    "a view that shadows a table": "ALTER TABLE model_version_tags RENAME TO hidden;"
                                   " CREATE VIEW model_version_tags AS SELECT * FROM hidden",
    "a view that shadows the trail": f"ALTER TABLE {TRAIL} RENAME TO hidden; CREATE VIEW {TRAIL} AS SELECT * FROM hidden",
    "a guard that is gone": f"DROP TRIGGER {TRAIL}_no_delete",
    "a guard that guards nothing": f"DROP TRIGGER {TRAIL}_no_delete; CREATE TRIGGER {TRAIL}_no_delete BEFORE DELETE ON {TRAIL}"
                                   " WHEN 0 BEGIN SELECT RAISE(ABORT, 'events are never deleted'); END",
    "an index with a condition": f"DROP INDEX {TRAIL}_about; CREATE INDEX {TRAIL}_about ON {TRAIL} (action) WHERE seq > 5",
}  # fmt: skip


@pytest.mark.parametrize("what", OTHER_TABLES)
def test_what_we_did_not_make_is_named(copy: Copy, what: str) -> None:
    assert verify(copy.database) == []
    copy.run(OTHER_TABLES[what])
    found = " ".join(verify(copy.database))
    assert re.search(rf"help|hidden|view model_version_tags|{TRAIL}", found), found


ON_THE_TRAIL: dict[str, tuple[list[str], str]] = {
    "an approval becomes a rejection": ([f"UPDATE {TRAIL} SET after = 'rejected' WHERE seq = 9"], "event 9 "),
    "an actor is exchanged": ([f"UPDATE {TRAIL} SET actor = 'bo' WHERE seq = 7"], "event 7 "),
    "a time is moved": ([f"UPDATE {TRAIL} SET time = '2020-01-01T00:00:00.000000Z' WHERE seq = 8"], "event 8 "),
    "a number with a point": ([f"UPDATE {TRAIL} SET allowed = 2 WHERE seq = 8"], "event 8 "),
    "an event is deleted": ([f"DELETE FROM {TRAIL} WHERE seq = 8"], "event 8|event 9"),
    "deleted and renumbered": (
        [f"DELETE FROM {TRAIL} WHERE seq = 8", f"UPDATE {TRAIL} SET seq = -seq WHERE seq > 8",
         f"UPDATE {TRAIL} SET seq = -seq - 1 WHERE seq < 0"],
        "event 8 ",
    ),
    "two change places": (
        [f"UPDATE {TRAIL} SET seq = -7 WHERE seq = 7", f"UPDATE {TRAIL} SET seq = 7 WHERE seq = 8",
         f"UPDATE {TRAIL} SET seq = 8 WHERE seq = -7"],
        "event 7 ",
    ),
    "MACs are copied from other events": ([f"UPDATE {TRAIL} SET mac = (SELECT mac FROM {TRAIL} WHERE seq = 3) WHERE seq = 6"],
                                          "event 6 carries no right MAC"),
    "MACs are taken away": ([f"UPDATE {TRAIL} SET mac = '' WHERE seq >= 6"], "events 6 to [0-9]+ carry no right MAC"),
    "the first is gone": ([f"DELETE FROM {TRAIL} WHERE seq = 1"], "event 1|event 2|first"),
    "text becomes bytes": ([f"UPDATE {TRAIL} SET reason = x'ff' WHERE seq = 7"], "event 7 "),
    "an event before the first": (
        [f"INSERT INTO {TRAIL} SELECT -1, {', '.join(COLUMNS[1:])} FROM {TRAIL} WHERE seq = 5"], "event -1|before the first",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", ON_THE_TRAIL)
def test_the_line_is_named(copy: Copy, what: str) -> None:
    statements, words = ON_THE_TRAIL[what]
    copy.owning(*statements)
    found = verify(copy.database)
    assert found and re.search(words, " ".join(found)), found


@pytest.mark.parametrize("mac", ["", "0" * 64, "x"], ids=["that of the event before", "zeros", "none"])
@pytest.mark.parametrize("past", [False, True])
def test_an_event_that_is_chained_rightly_lacks_the_key(copy: Copy, mac: str, past: bool) -> None:
    last = read_events(copy.database)[-1].seq
    copy.appended(mac, **({"time": datetime.now(UTC) - timedelta(days=30)} if past else {}))
    found = verify(copy.database)
    assert any(re.match(rf"event {last + 1} carries no right MAC", one) for one in found), found
    assert not past or any("time" in one or "earlier" in one for one in found), found
    trail = Trail(f"sqlite:///{copy.database}")
    with pytest.raises(Broken, match=f"event {last + 1} "):
        trail.last_decision("bolt", "1")
    trail.close()


def test_the_end_that_was_cut_off_is_missed_by_the_head_kept_elsewhere(copy: Copy) -> None:
    kept = head(copy.database)
    copy.owning(f"DELETE FROM {TRAIL} WHERE seq = {LAST}")
    assert verify(copy.database) == []
    assert any("its end was cut off" in one for one in verify(copy.database, kept))


@pytest.mark.parametrize("what", ["replaced", "emptied", "removed"])
def test_another_key_is_none(copy: Copy, what: str) -> None:
    file = key_file(copy.database.parent)
    text = file.read_text()
    file.chmod(0o600)
    if what == "removed":
        file.unlink()
    else:
        file.write_text("" if what == "emptied" else "f" * 64 + text[64:])
    try:
        assert verify(copy.database) != []
    except (Broken, Refused) as problem:
        assert "key" in str(problem)


REWRITTEN = {
    "gates": "UPDATE model_version_tags SET value = 'passed' WHERE name = ? AND key = 'changeover.gates'",
    "threshold": "UPDATE model_version_tags SET value = '99.0' WHERE name = ? AND key = 'changeover.threshold'",
    "who asked": "UPDATE model_version_tags SET value = 'os:somebody' WHERE name = ? AND key = 'changeover.requested_by'",
    "the report": f"UPDATE model_version_tags SET value = '{'0' * 64}' WHERE name = ? AND key = 'changeover.report'",
    "the files": f"UPDATE model_version_tags SET value = '{'0' * 64}' WHERE name = ? AND key = 'changeover.files'",
    "the batch": "UPDATE model_version_tags SET value = 'b' WHERE name = ? AND key = 'changeover.batch'",
    "the images": f"UPDATE model_version_tags SET value = '{'0' * 64}' WHERE name = ? AND key = 'changeover.images'",
    "the commit": "UPDATE model_version_tags SET value = 'bad' WHERE name = ? AND key = 'changeover.commit'",
    # Of a model that no other test registers: the registry goes on, and each model is registered once.
    "the digest": f"UPDATE model_version_tags SET value = '{'d1' * 32}' WHERE name = ? AND key = 'changeover.digest'",
    "the life": f"UPDATE model_version_tags SET value = '{'0' * 32}' WHERE name = ? AND key = 'changeover.life'",
    "no life": "DELETE FROM model_version_tags WHERE name = ? AND key = 'changeover.life'",
    "no files": "DELETE FROM model_version_tags WHERE name = ? AND key = 'changeover.files'",
    "a teacher": f"INSERT INTO model_version_tags (key, value, name, version) SELECT 'changeover.teacher', '{'0' * 64}', name, 1"
                 " FROM registered_models WHERE name = ?",
    "another run": f"UPDATE model_versions SET run_id = '{'0' * 32}' WHERE name = ?",
    "another model": f"UPDATE model_versions SET source = 'models:/m-{'0' * 32}' WHERE name = ?",
}  # fmt: skip


@pytest.mark.parametrize("what", REWRITTEN)
def test_a_record_rewritten_before_the_signature_is_not_signed(registry: Registry, make_request: Make, what: str) -> None:
    """Nothing was signed yet, so no signature could become void: the event of the registration says what was registered."""
    version = register(registry.trainer, make_request(passed=what != "gates"))
    with closing(sqlite3.connect(registry.database)) as raw, raw:
        raw.execute(REWRITTEN[what], (version.product,))
    with pytest.raises(Exception, match=r".") as told:
        sign_off(registry.ana, version.product, "1", "approved", "fine")
    assert not isinstance(told.value, AssertionError)
    assert not status_of(registry, version)


def status_of(registry: Registry, version: Version) -> bool:
    try:
        return status(registry.vic, version.product, "1").valid
    except Exception:  # noqa: BLE001 - its run or model is not there: no valid sign-off either
        return False


@pytest.mark.parametrize("what", ["run", "logged model"])
def test_a_version_whose_run_or_model_is_gone_says_so(registry: Registry, make_request: Make, what: str) -> None:
    """The page failed inside: QA saw a reference into the log instead of what had happened."""
    version = register(registry.trainer, make_request())
    with closing(sqlite3.connect(registry.database)) as raw, raw:
        if what == "run":
            gone = raw.execute("DELETE FROM runs WHERE run_uuid = ?", (version.run_id,))
        else:
            of_name = "SELECT replace(source, 'models:/', '') FROM model_versions WHERE name = ?"
            gone = raw.execute(f"DELETE FROM logged_models WHERE model_id = ({of_name})", (version.product,))
        assert gone.rowcount == 1
    address = f"{registry.url}/changeover/review?product={version.product}&version=1"
    page = registry.http.get(address, auth=("ana", PASSWORD))
    assert page.status_code == 200
    assert "was deleted after registration" in page.text
    with pytest.raises(Refused, match="was deleted after registration"):
        sign_off(registry.ana, version.product, "1", "approved", "looks right")


def test_an_alias_moved_past_the_gate_goes_back(registry: Registry, make_request: Make) -> None:
    version = register(registry.trainer, make_request())
    with closing(sqlite3.connect(registry.database)) as raw, raw:
        raw.execute("INSERT INTO registered_model_aliases (alias, version, name) VALUES ('champion', 1, ?)", (version.product,))
    undone = registry.post(registry.promoter, "/changeover/watch", {}).json()["undone"]
    assert [(one["subject"], one["after"]) for one in undone if one["product"] == version.product] == [("champion", "1")]
    with pytest.raises(Refused, match="pending, not approved"):
        promote(registry.promoter, version.product)


def test_what_went_through_the_server_holds_and_what_did_not_is_named(registry: Registry, whole: Path, copy: Copy) -> None:
    assert verify(registry.database) == [] and verify(whole / "mlflow.db") == []
    last = read_events(copy.database)[-1].seq
    copy.appended("", after="rejected")
    copy.owning(f"UPDATE {TRAIL} SET actor = 'bo' WHERE seq = 7")
    copy.run(OTHER_TABLES["a trigger on aliases"])
    found = verify(copy.database)
    for words in ("trigger help", "event 7 was edited", f"event {last + 1} carries no right MAC"):
        assert any(words in one for one in found), (words, found)
