"""What the owner of a PostgreSQL database, or its superuser, can add to it: each is named by ``verify``, or the event is refused.

The database is as MLflow makes it, with all of its tables.
"""

import itertools
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from registry.errors import Broken
from registry.trail.audit import verify
from registry.trail.events import Trail
from registry.trail.on_postgresql import Postgresql

from .postgresql import Server, new_database, server
from .test_events import entry

pytestmark = pytest.mark.slow
_NUMBERS = itertools.count()
_TABLES = """
import sys, sqlalchemy
from mlflow.server.auth.db.utils import migrate
from mlflow.store.db.utils import _initialize_tables
engine = sqlalchemy.create_engine(sys.argv[1])
_initialize_tables(engine)
migrate(engine, "head")
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str, Path]]:
    """A server, the name of a database to copy, and the plant's key."""
    key = tmp_path_factory.mktemp("key") / "trail-key"
    with server() as postgresql:
        address = new_database(postgresql.address)
        subprocess.run(
            [sys.executable, "-c", _TABLES, address], check=True, capture_output=True
        )  # MLflow warns as it is imported
        trail = Trail(address, key)
        trail.prepare()
        for number in range(1, 7):
            trail.append(entry(number, product="bolt" if number % 2 else "nut"))
        trail.close()
        yield postgresql, str(sa.make_url(address).database), key


@pytest.fixture
def key(made: tuple[Server, str, Path]) -> Path:
    return made[2]


@pytest.fixture
def address(made: tuple[Server, str, Path]) -> str:
    """A database of its own."""
    postgresql, pattern, _ = made
    name = f"copy_{next(_NUMBERS)}"
    run(postgresql.address, f"CREATE DATABASE {name} TEMPLATE {pattern}")
    return postgresql.address.set(database=name).render_as_string(hide_password=False)


def run(address: sa.URL | str, *statements: str) -> None:
    """Past us, as the database's owner and superuser."""
    engine = sa.create_engine(address, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement.replace("%", "%%"))
    engine.dispose()


def here(address: str) -> str:
    return str(sa.make_url(address).database)


def test_a_fresh_database_gives_no_alarm(address: str, key: Path) -> None:
    assert verify(address, key=key) == []


RETURN_NEW = "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$"
OF_ROLE = "ALTER ROLE changeover IN DATABASE {here} SET"


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (
            ["CREATE RULE r AS ON INSERT TO registered_model_aliases DO INSTEAD NOTHING"],
            "rule r on table registered_model_aliases",
        ),
        (["CREATE RULE r AS ON UPDATE TO users WHERE OLD.username = 'eve' DO INSTEAD NOTHING"], "rule r on table users"),
        (["CREATE RULE r AS ON DELETE TO model_version_tags DO ALSO NOTIFY x"], "rule r on table model_version_tags"),
        ([RETURN_NEW, "CREATE TRIGGER g BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION f()"], "trigger g on table users"),
        (
            [RETURN_NEW, "CREATE TRIGGER g AFTER UPDATE ON users FOR EACH STATEMENT EXECUTE FUNCTION f()"],
            "trigger g on table users",
        ),
        (
            [
                RETURN_NEW,
                "CREATE CONSTRAINT TRIGGER g AFTER INSERT ON model_version_tags DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
                " EXECUTE FUNCTION f()",
            ],
            "trigger g on table model_version_tags",
        ),
        (
            [
                "CREATE VIEW v AS SELECT 1 AS x",
                RETURN_NEW,
                "CREATE TRIGGER g INSTEAD OF INSERT ON v FOR EACH ROW EXECUTE FUNCTION f()",
            ],
            "trigger g on table v",
        ),
        (
            [
                RETURN_NEW,
                "CREATE TRIGGER g BEFORE INSERT ON changeover_events FOR EACH ROW EXECUTE FUNCTION f()",
                "SET allow_system_table_mods = on",
                "UPDATE pg_trigger SET tgisinternal = true WHERE tgname = 'g'",
            ],
            "trigger g on table changeover_events",
        ),
        (
            [
                "SET allow_system_table_mods = on",
                "UPDATE pg_class SET relhastriggers = false WHERE relname = 'changeover_events'",
            ],
            "triggers that are switched off on table changeover_events",
        ),
        (
            ["ALTER FUNCTION prevent_secrets_aad_mutation() SET search_path = public"],
            "trigger prevent_secrets_aad_mutation on table secrets",
        ),
        (
            [
                "CREATE FUNCTION e() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$",
                "CREATE EVENT TRIGGER t ON ddl_command_end EXECUTE FUNCTION e()",
            ],
            "event trigger t was made",
        ),
        (["ALTER TABLE registered_model_aliases ENABLE ROW LEVEL SECURITY"], "row security on table registered_model_aliases"),
        (["ALTER TABLE users FORCE ROW LEVEL SECURITY"], "row security on table users"),
        (["CREATE POLICY p ON model_versions USING (false)"], "policy p on table model_versions"),
        (["CREATE TABLE more () INHERITS (registered_model_aliases)"], "inheritance more on table registered_model_aliases"),
        (["CREATE TABLE parent (LIKE users)", "ALTER TABLE users INHERIT parent"], "inheritance users on table parent"),
        (
            ["CREATE TABLE parts (LIKE changeover_events) PARTITION BY RANGE (seq)"],
            "partition parts was made",
        ),
        (
            [
                "CREATE EXTENSION postgres_fdw SCHEMA pg_catalog",
                "CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw",
                "CREATE FOREIGN TABLE far (x int) SERVER s",
            ],
            "foreign table far was made",
        ),
        (["ALTER TABLE registered_model_aliases SET UNLOGGED"], "unlogged storage on table registered_model_aliases"),
        (["ALTER FUNCTION changeover_events_no_delete() SET work_mem = '1MB'"], "no_delete is missing or was changed"),
        (["ALTER FUNCTION changeover_events_in_order() OWNER TO pg_monitor"], "in_order is missing or was changed"),
        (
            ["CREATE FUNCTION substr(text, bigint, int) RETURNS text LANGUAGE sql AS 'SELECT $1'"],
            "function substr(text, bigint, int",
        ),
        (["CREATE AGGREGATE last(integer) (sfunc = int4larger, stype = integer)"], "function last(integer)"),
        (["CREATE FUNCTION pg_catalog.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'"], "function mine()"),
        (
            ["CREATE FUNCTION changeover_events_in_order(int) RETURNS int LANGUAGE sql AS 'SELECT 1'"],
            "in_order(integer) was made",
        ),
        (
            [
                "CREATE FUNCTION never(varchar, varchar) RETURNS bool LANGUAGE sql AS 'SELECT false'",
                "CREATE OPERATOR = (FUNCTION = never, LEFTARG = varchar, RIGHTARG = varchar)",
            ],
            "operator =(character varying,character varying)",
        ),
        (["CREATE CAST (text AS integer) WITH INOUT AS IMPLICIT"], "cast text to integer was made"),
        (["CREATE DOMAIN text AS pg_catalog.text CHECK (VALUE <> 'champion')"], "type public.text was made"),
        (
            [
                "CREATE DOMAIN d AS pg_catalog.text",
                "ALTER TABLE changeover_events DISABLE TRIGGER USER",
                "ALTER TABLE changeover_events ALTER actor TYPE d",
                "ALTER TABLE changeover_events ENABLE ALWAYS TRIGGER changeover_events_in_order",
            ],
            "column actor of table changeover_events is not as",
        ),
        (["ALTER TABLE changeover_events ALTER reason DROP NOT NULL"], "column reason of table changeover_events is not as"),
        (["ALTER TABLE changeover_events ADD COLUMN more text"], "column more of table changeover_events is not as"),
        (["ALTER TABLE changeover_events ALTER mac TYPE text"], "column mac of table changeover_events is not as"),
        (
            ['ALTER TABLE changeover_events ALTER actor TYPE text COLLATE "C"'],
            'collation "C" of column actor on table changeover_e',
        ),
        (
            [
                "CREATE COLLATION alike (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
                "ALTER TABLE users ALTER username TYPE varchar(255) COLLATE alike",
            ],
            "collation alike of column username on table users",
        ),
        (
            ["ALTER TABLE registered_model_aliases ADD CONSTRAINT c CHECK (alias <> 'champion')"],
            "constraint c on table registered_model_aliases",
        ),
        (
            ["ALTER TABLE users ADD COLUMN more int GENERATED ALWAYS AS (1) STORED"],
            "computed value more on table users",
        ),
        (
            ["CREATE SCHEMA changeover", "CREATE TABLE changeover.users (LIKE users)"],
            "second table changeover.users on table users",
        ),
        (
            [
                "CREATE SCHEMA evil",
                "CREATE VIEW evil.model_version_tags AS SELECT * FROM model_version_tags",
                f"{OF_ROLE} search_path = public, evil",
            ],
            "second view evil.model_version_tags on table model_version_tags",
        ),
        (
            [
                "CREATE SCHEMA evil",
                "CREATE TABLE evil.changeover_events (LIKE changeover_events INCLUDING ALL)",
                f"{OF_ROLE} search_path = evil, public",
            ],
            "second table public.changeover_events on table changeover_events",
        ),
        (
            [
                "CREATE SCHEMA evil",
                "CREATE VIEW evil.pg_trigger AS SELECT * FROM pg_catalog.pg_trigger WHERE tgname <> 'g'",
                f"{OF_ROLE} search_path = evil, pg_catalog, public",
            ],
            "search_path is evil, pg_catalog, public: other schemas go before PostgreSQL's own",
        ),
        (["ALTER DATABASE {here} SET search_path = public, pg_catalog"], "search_path is public, pg_catalog"),
        ([f"{OF_ROLE} session_replication_role = replica"], "setting session_replication_role is replica, not origin"),
        (["ALTER DATABASE {here} SET transform_null_equals = on"], "setting transform_null_equals is on, not off"),
        (
            [f"{OF_ROLE} standard_conforming_strings = off"],
            "setting standard_conforming_strings is off, not on",
        ),
        ([f"{OF_ROLE} session_preload_libraries = auto_explain"], "session_preload_libraries loads auto_explain"),
        (["CREATE EXTENSION hstore"], "extension hstore was made"),
        (
            [
                "CREATE SCHEMA elsewhere",
                "CREATE EXTENSION hstore SCHEMA elsewhere",
                "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
                "ALTER EXTENSION hstore ADD FUNCTION f()",
            ],
            "function f() was made",
        ),
        (
            [
                "ALTER TABLE changeover_events RENAME TO real",
                "CREATE TABLE changeover_events AS SELECT * FROM real",
            ],
            "no_delete is missing or was changed",
        ),
        (
            [
                "ALTER TABLE changeover_events RENAME TO real",
                "CREATE TABLE changeover_events (LIKE real INCLUDING ALL)",
                "INSERT INTO changeover_events SELECT * FROM real",
                *(
                    f"CREATE TRIGGER changeover_events_{name} {when} ON changeover_events FOR EACH {each}"
                    f" EXECUTE FUNCTION changeover_events_{name}()"
                    for name, when, each in (
                        ("no_update", "BEFORE UPDATE", "ROW"),
                        ("no_delete", "BEFORE DELETE", "ROW"),
                        ("in_order", "BEFORE INSERT", "ROW"),
                        ("no_truncate", "BEFORE TRUNCATE", "STATEMENT"),
                    )
                ),
            ],
            "on table real",
        ),
    ],
    ids=lambda given: given[-1][:60] if isinstance(given, list) else "",
)
def test_verify_names_it(
    made: tuple[Server, str, Path], statements: list[str], words: str, request: pytest.FixtureRequest
) -> None:
    if any("{here}" in one for one in statements):  # counts from the next session on
        address: str = request.getfixturevalue("address")
        run(address, *(one.replace("{here}", here(address)) for one in statements))
        problems = verify(address, key=made[2])
    else:
        problems = in_a_transaction(made, statements)
    assert any(words in one for one in problems), problems
    assert all("; " in one and "\n" not in one for one in problems)


def in_a_transaction(made: tuple[Server, str, Path], statements: list[str]) -> list[str]:
    """What ``verify`` asks the database, within a transaction that is rolled back: a copy for each would take a minute."""
    kind = Postgresql()
    engine = sa.create_engine(made[0].address.set(database=made[1]))
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement.replace("%", "%%"))
        missing = kind.guards - kind.guarding(connection)
        problems = [f"{name} is missing or was changed; " for name in missing] + kind.not_ours(connection)
        connection.rollback()
    engine.dispose()
    return problems


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE PUBLICATION p FOR ALL TABLES"],
        [
            "CREATE SCHEMA other",
            "CREATE FUNCTION other.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "CREATE TABLE other.users (x int)",
        ],
        ["CREATE SCHEMA stats", "CREATE EXTENSION pg_stat_statements SCHEMA stats"],
        ["CREATE SCHEMA elsewhere", "CREATE EXTENSION hstore SCHEMA elsewhere"],
        ["CREATE TABLE of_somebody (x int)"],
        ["ALTER TABLE changeover_events SET (autovacuum_enabled = false)", "VACUUM FULL changeover_events", "ANALYZE"],
        ["GRANT SELECT ON ALL TABLES IN SCHEMA public TO PUBLIC"],
    ],
    ids=lambda given: given[-1][:60],
)
def test_what_is_harmless_gives_no_alarm(address: str, key: Path, statements: list[str]) -> None:
    run(address, *statements)
    assert verify(address, key=key) == []


HIDE = "USING (actor <> 'eve' OR xmin::text = (txid_current() % (1::bigint << 32))::text)"


@pytest.mark.parametrize(
    "statements",
    [
        [
            "CREATE TABLE changeover_events_2 (LIKE changeover_events)",
            "CREATE RULE r AS ON INSERT TO changeover_events WHERE NEW.actor = 'eve' DO INSTEAD"
            " INSERT INTO changeover_events_2 VALUES (NEW.*)",
        ],
        [
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.actor = 'eve' THEN RETURN NULL; END IF;"
            " RETURN NEW; END $$",
            "CREATE TRIGGER a BEFORE INSERT ON changeover_events FOR EACH ROW EXECUTE FUNCTION f()",
            "SET allow_system_table_mods = on",
            "UPDATE pg_trigger SET tgisinternal = true WHERE tgname = 'a'",
        ],
        [
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.reason := 'other'; RETURN NEW; END $$",
            "CREATE TRIGGER z BEFORE INSERT ON changeover_events FOR EACH ROW EXECUTE FUNCTION f()",
        ],
    ],
    ids=lambda given: given[-1][:60],
)
def test_an_event_that_is_swallowed_or_changed_is_noticed_at_once(address: str, key: Path, statements: list[str]) -> None:
    run(address, *statements)
    trail = Trail(address, key)
    with pytest.raises(Broken, match="was swallowed"):
        trail.append(entry(7, actor="eve", allowed=False))
    assert trail.size() == (6, 6)
    trail.close()
    assert verify(address, key=key) != []


def test_what_is_shown_in_its_own_transaction_only_is_named(address: str, key: Path, made: tuple[Server, str, Path]) -> None:
    """A policy shows an event to who reads it back, and to nobody afterwards. It binds who is no superuser."""
    name = here(address)
    role = f"plant_{name}"
    run(
        address,
        f"CREATE ROLE {role} LOGIN PASSWORD 'x'",
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}",
        f"CREATE POLICY p ON changeover_events {HIDE} WITH CHECK (true)",
        "ALTER TABLE changeover_events ENABLE ROW LEVEL SECURITY",
    )
    url = sa.make_url(address).set(username=role, password="x").render_as_string(hide_password=False)
    trail = Trail(url, key)
    trail.append(entry(7, actor="eve", allowed=False))
    assert trail.size() == (6, 6)
    assert "policy p on table changeover_events" in str(trail.problem()) or "row security" in str(trail.problem())
    trail.close()
    assert any("policy p on table changeover_events" in one for one in verify(url, key=key))


@pytest.mark.parametrize(("days", "words"), [(-400, "time ran backwards"), (400, "lies in the future")])
def test_times_that_cannot_be_are_reported(address: str, key: Path, days: int, words: str) -> None:
    trail = Trail(address, key)
    event = trail.append(entry(7, time=datetime.now(UTC) + timedelta(days=days)))
    trail.close()
    assert any(f"event {event.seq}" in one and words in one for one in verify(address, key=key)), verify(address, key=key)
