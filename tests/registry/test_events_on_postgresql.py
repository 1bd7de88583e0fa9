"""The trail on PostgreSQL: the same chain, and a database that refuses what SQLite refuses."""

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from registry.audit import head, read_events, verify
from registry.errors import NotFound, Unreachable
from registry.events import Trail, digest_of

from .postgresql import programs
from .test_events import entry

pytestmark = pytest.mark.slow


@pytest.fixture
def address(postgresql: Callable[[], str]) -> str:
    """A database with a trail of six events."""
    made = postgresql()
    trail = Trail(made)
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


def test_the_chain_is_the_same(address: str) -> None:
    events = read_events(address)
    assert [one.seq for one in events] == [1, 2, 3, 4, 5, 6]
    assert [one.hash for one in events] == [digest_of(one, one.seq, one.previous) for one in events]
    assert [one.version for one in read_events(address, "nut")] == ["2", "4", "6"]
    assert verify(address, head(address)) == []
    trail = Trail(address)
    trail.prepare()  # as every start of the server does
    assert (
        trail.triggers()
        == trail.guards
        == {f"changeover_events_{n}" for n in ("no_update", "no_delete", "no_truncate", "in_order")}
    )
    trail.close()


COPY = (
    "SELECT {}, time, actor, action, product, version, digest, subject, before, after, address, allowed, reason, previous, hash"
)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE changeover_events SET actor = 'bo' WHERE seq = 3",
        "DELETE FROM changeover_events WHERE seq = 6",
        "TRUNCATE changeover_events",
        "SET session_replication_role = replica; DELETE FROM changeover_events",
        f"INSERT INTO changeover_events {COPY.format(9)} FROM changeover_events WHERE seq = 3",
        f"CREATE TEMP TABLE changeover_events AS SELECT 8 AS seq; INSERT INTO public.changeover_events {COPY.format(9)}"  # noqa: S608 - fixed text
        " FROM public.changeover_events WHERE seq = 3",
        f"INSERT INTO changeover_events {COPY.format('seq')} FROM changeover_events WHERE seq = 3"
        " ON CONFLICT (seq) DO UPDATE SET actor = 'bo'",
    ],
)
def test_the_database_refuses_changes(address: str, raw: sa.Connection, statement: str) -> None:
    with pytest.raises(sa.exc.DBAPIError, match="append-only"):
        raw.exec_driver_sql(statement)
    assert verify(address) == []


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
def test_verify_finds(address: str, raw: sa.Connection, statement: str, words: str) -> None:
    for one in statement.split("; ") if "$$" not in statement else [statement]:
        raw.exec_driver_sql(one)
    assert any(words in problem for problem in verify(address))


def test_many_writers_keep_one_chain(postgresql: Callable[[], str]) -> None:
    address = postgresql()

    def write(writer: int) -> None:
        trail = Trail(address)
        trail.prepare()  # at once, too: several workers start on an empty database
        for number in range(15):
            trail.append(entry(number, actor=f"writer {writer}"))
        trail.close()

    with ThreadPoolExecutor(6) as writers:
        list(writers.map(write, range(6)))
    assert len(read_events(address)) == 90
    assert verify(address) == []


def test_what_is_no_trail(postgresql: Callable[[], str]) -> None:
    with pytest.raises(NotFound, match="holds no audit trail") as error:
        verify(postgresql())
    assert "only of this test" not in str(error.value)
    with pytest.raises(Unreachable, match="see whether its database runs"):
        verify("postgresql://nobody@127.0.0.1:1/none")


def test_a_backup_comes_back_whole(address: str, postgresql: Callable[[], str]) -> None:
    """Append-only triggers do not stand in the way of pg_dump, and come back switched on."""
    folder, other = programs(), postgresql()
    assert folder is not None

    def run(program: str, database: str, **options: Any) -> bytes:
        url = sa.make_url(database)
        place = [f"--host={url.host}", f"--port={url.port}", f"--username={url.username}", f"--dbname={url.database}"]
        environment = {"PGPASSWORD": str(url.password)}
        return subprocess.run([folder / program, *place], env=environment, check=True, capture_output=True, **options).stdout

    run("psql", other, input=b"\\set ON_ERROR_STOP on\n" + run("pg_dump", address))
    assert verify(other, head(address)) == []
