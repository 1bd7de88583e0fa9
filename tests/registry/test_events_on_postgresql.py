"""The trail on PostgreSQL: the same chain, and a database that refuses what SQLite refuses."""

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from registry.errors import Broken, NotFound, RegistryError, Unreachable
from registry.trail.audit import head, read_events, verify
from registry.trail.events import Trail, digest_of

from .postgresql import programs
from .test_events import entry

pytestmark = pytest.mark.slow


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """Where the plant's key lies: outside the database."""
    return tmp_path / "trail-key"


@pytest.fixture
def address(postgresql: Callable[[], str], key: Path) -> str:
    """A database with a trail of six events."""
    made = postgresql()
    trail = Trail(made, key)
    trail.prepare()
    for number in range(1, 7):
        trail.append(entry(number, product="bolt" if number % 2 else "nut", reason="größer: 1 %"))
    trail.close()
    return made


@pytest.fixture
def raw(address: str) -> Iterator[sa.Connection]:
    """A client that writes past us, as the owner of the database."""
    engine = sa.create_engine(address, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def test_the_chain_is_the_same(address: str, key: Path) -> None:
    events = read_events(address)
    assert [one.seq for one in events] == [1, 2, 3, 4, 5, 6]
    assert [one.hash for one in events] == [digest_of(one, one.seq, one.previous) for one in events]
    assert [one.version for one in read_events(address, "nut")] == ["2", "4", "6"]
    assert verify(address, head(address), key=key) == []
    trail = Trail(address, key)
    trail.prepare()  # as every start of the server does
    assert (
        trail.triggers()
        == trail.guards
        == {f"changeover_events_{n}" for n in ("no_update", "no_delete", "no_truncate", "in_order")}
    )
    trail.close()


COPY = (
    "SELECT {}, time, actor, action, product, version, digest, subject, before, after, address, allowed, reason, previous, hash,"
    " mac"
)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE changeover_events SET actor = 'bo' WHERE seq = 3",
        "DELETE FROM changeover_events WHERE seq = 6",
        "TRUNCATE changeover_events",
        "SET session_replication_role = replica; DELETE FROM changeover_events",
        f"INSERT INTO changeover_events {COPY.format(9)} FROM changeover_events WHERE seq = 3",
        f"CREATE TEMP TABLE changeover_events AS SELECT 8 AS seq; INSERT INTO public.changeover_events {COPY.format(9)}"
        " FROM public.changeover_events WHERE seq = 3",
        f"INSERT INTO changeover_events {COPY.format('seq')} FROM changeover_events WHERE seq = 3"
        " ON CONFLICT (seq) DO UPDATE SET actor = 'bo'",
    ],
)
def test_the_database_refuses_changes(address: str, key: Path, raw: sa.Connection, statement: str) -> None:
    with pytest.raises(sa.exc.DBAPIError, match="append-only"):
        raw.exec_driver_sql(statement)
    assert verify(address, key=key) == []


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DROP TRIGGER changeover_events_no_update ON changeover_events", "no_update is missing or was changed"),
        ("ALTER TABLE changeover_events DISABLE TRIGGER changeover_events_no_delete", "no_delete is missing or was changed"),
        (
            "CREATE OR REPLACE FUNCTION changeover_events_no_truncate() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RETURN NULL; END $$",
            "no_truncate is missing or was changed",
        ),
        (
            "CREATE OR REPLACE TRIGGER changeover_events_no_update BEFORE UPDATE OF version ON changeover_events FOR EACH ROW"
            " EXECUTE FUNCTION changeover_events_no_update(); ALTER TABLE changeover_events ENABLE ALWAYS TRIGGER"
            " changeover_events_no_update",
            "no_update is missing or was changed",
        ),
        (
            "CREATE OR REPLACE TRIGGER changeover_events_no_update BEFORE UPDATE ON changeover_events FOR EACH ROW WHEN (false)"
            " EXECUTE FUNCTION changeover_events_no_update(); ALTER TABLE changeover_events ENABLE ALWAYS TRIGGER"
            " changeover_events_no_update",
            "no_update is missing or was changed",
        ),
        ("ALTER FUNCTION changeover_events_in_order() SET search_path = x", "in_order is missing or was changed"),
        ("ALTER FUNCTION changeover_events_in_order() SECURITY DEFINER", "in_order is missing or was changed"),
        ("CREATE VIEW v AS SELECT 1", "view v was made neither"),
        ("CREATE MATERIALIZED VIEW v AS SELECT 1", "materialised view v was made neither"),
        ("CREATE RULE r AS ON INSERT TO changeover_events DO ALSO NOTHING", "rule r on table changeover_events"),
        ("CREATE TABLE t (x int); CREATE RULE r AS ON INSERT TO t DO INSTEAD NOTHING", "rule r on table t"),
        ("CREATE POLICY p ON changeover_events FOR SELECT USING (false)", "policy p on table changeover_events"),
        ("ALTER TABLE changeover_events ENABLE ROW LEVEL SECURITY", "row security on table changeover_events"),
        ("CREATE TABLE child () INHERITS (changeover_events)", "inheritance child on table changeover_events"),
        ("ALTER TABLE changeover_events ADD CONSTRAINT c CHECK (seq < 9)", "constraint c on table changeover_events"),
        ("ALTER TABLE changeover_events SET UNLOGGED", "unlogged storage on table changeover_events"),
        ("ALTER TABLE changeover_events ALTER actor SET DEFAULT 'x'", "default or computed value actor"),
        ("CREATE INDEX i ON changeover_events (reason)", "index i on table changeover_events"),
        (
            "CREATE TABLE t (x int); CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW"
            " EXECUTE FUNCTION changeover_events_in_order()",
            "trigger g on table t was made neither",
        ),
        (
            "ALTER TABLE changeover_events DISABLE TRIGGER USER; UPDATE changeover_events SET allowed = false WHERE seq = 3; "
            "ALTER TABLE changeover_events ENABLE TRIGGER USER",
            "event 3 was edited",
        ),
        (
            "ALTER TABLE changeover_events DISABLE TRIGGER USER; DELETE FROM changeover_events WHERE seq = 3",
            "event 3 is missing",
        ),
    ],
)
def test_verify_finds(address: str, key: Path, raw: sa.Connection, statement: str, words: str) -> None:
    for one in statement.split("; ") if "$$" not in statement else [statement]:
        raw.exec_driver_sql(one)
    assert any(words in problem for problem in verify(address, key=key)), verify(address, key=key)


FUNCTION = "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ {} $$"


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE RULE r AS ON INSERT TO changeover_events DO INSTEAD NOTHING"],
        ["CREATE RULE r AS ON INSERT TO changeover_events WHERE NOT NEW.allowed DO INSTEAD NOTHING"],
        [
            "CREATE TABLE pit (LIKE changeover_events)",
            "CREATE RULE r AS ON INSERT TO changeover_events DO INSTEAD INSERT INTO pit VALUES (NEW.*)",
        ],
        [
            FUNCTION.format("BEGIN RETURN NULL; END"),
            "CREATE TRIGGER a BEFORE INSERT ON changeover_events FOR EACH ROW EXECUTE FUNCTION f()",
        ],
        [
            FUNCTION.format("BEGIN NEW.actor := 'bo'; RETURN NEW; END"),
            "CREATE TRIGGER a BEFORE INSERT ON changeover_events FOR EACH ROW EXECUTE FUNCTION f()",
        ],
        [
            "DROP TRIGGER changeover_events_no_delete ON changeover_events",
            FUNCTION.format("BEGIN DELETE FROM changeover_events WHERE seq = NEW.seq; RETURN NULL; END"),
            "CREATE CONSTRAINT TRIGGER a AFTER INSERT ON changeover_events DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION f()",
        ],
    ],
)
def test_what_swallows_an_event_stops_the_deed(address: str, key: Path, raw: sa.Connection, statements: list[str]) -> None:
    for one in statements:
        raw.exec_driver_sql(one)
    trail = Trail(address, key)
    with pytest.raises(Broken, match="event 7 of the audit trail was swallowed: a trigger or rule"):
        trail.append(entry(7, allowed=False))
    assert trail.size() == (6, 6)
    assert "was made neither by the registry nor by MLflow" in "".join(verify(address, key=key))
    trail.close()


def test_an_appended_event_is_found_and_questions_are_answered(address: str, key: Path, raw: sa.Connection) -> None:
    trail = Trail(address, key)
    assert trail.problem() is None
    assert [one.seq for one in trail.find(product="bolt", actions=["tag.set"], newest_first=True, at_most=2)] == [5, 3]
    decided = trail.last_decision("nut", "2")
    assert decided is not None and decided.seq == 2
    long = "".join(chr(0x4E00 + number * 37 % 20000) for number in range(4000))  # does not shrink: 12,000 bytes
    trail.append(entry(7, product=long, action=long, subject=long, digest=long))
    assert [one.seq for one in trail.find(product=long, version="7")] == [7]
    raw.exec_driver_sql(f"INSERT INTO changeover_events {COPY.format(8)} FROM changeover_events WHERE seq = 7")
    assert "event 8 does not follow" in str(trail.problem())
    assert any("event 8 carries no right MAC" in one for one in verify(address, key=key))
    trail.close()


def test_a_trail_of_an_earlier_release_goes_on(address: str, key: Path, raw: sa.Connection) -> None:
    raw.exec_driver_sql("ALTER TABLE changeover_events DROP COLUMN mac")
    raw.exec_driver_sql("DROP INDEX changeover_events_about")
    raw.exec_driver_sql("CREATE INDEX changeover_events_by_version ON changeover_events (product, version)")
    key.unlink()
    trail = Trail(address, key)
    assert len(trail.events()) == 6
    trail.prepare()
    assert trail.append(entry(7)).mac
    trail.close()
    assert key.read_text().endswith(" 7")
    assert verify(address, key=key) == []
    with pytest.raises(RegistryError, match="needs a key outside the database"):
        Trail(address).prepare()


def test_many_writers_keep_one_chain(postgresql: Callable[[], str], key: Path) -> None:
    address = postgresql()

    def write(writer: int) -> None:
        trail = Trail(address, key)
        trail.prepare()  # at once, too: several workers start on an empty database
        for number in range(15):
            trail.append(entry(number, actor=f"writer {writer}"))
        trail.close()

    with ThreadPoolExecutor(6) as writers:
        list(writers.map(write, range(6)))
    assert len(read_events(address)) == 90
    assert verify(address, key=key) == []


def test_what_is_no_trail(postgresql: Callable[[], str]) -> None:
    with pytest.raises(NotFound, match="holds no audit trail") as error:
        verify(postgresql())
    assert "only of this test" not in str(error.value)
    with pytest.raises(Unreachable, match="see whether its database runs"):
        verify("postgresql://nobody@127.0.0.1:1/none")


def test_a_backup_comes_back_whole(address: str, key: Path, postgresql: Callable[[], str]) -> None:
    """Append-only triggers do not stand in the way of pg_dump, and come back switched on."""
    folder, other = programs(), postgresql()
    assert folder is not None

    def run(program: str, database: str, **options: Any) -> bytes:
        url = sa.make_url(database)
        place = [f"--host={url.host}", f"--port={url.port}", f"--username={url.username}", f"--dbname={url.database}"]
        environment = {"PGPASSWORD": str(url.password)}
        return subprocess.run([folder / program, *place], env=environment, check=True, capture_output=True, **options).stdout

    run("psql", other, input=b"\\set ON_ERROR_STOP on\n" + run("pg_dump", address))
    assert verify(other, head(address), key=key) == []
