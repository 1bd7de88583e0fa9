"""A database that stops, fills up or is damaged under a running registry: 503 and one sentence by every route, then all is well.

The routes are read from what is installed (``attack_routes``).
"""

import itertools
import re
import resource
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
import sqlalchemy as sa

from registry.client.versions import Version, register
from registry.server.lost_database import (
    BUSY,
    DAMAGED,
    DISK_FULL,
    EXCHANGED,
    FULL,
    NO_RIGHTS,
    READ_ONLY,
    STOPPED,
    sentence_of,
)
from registry.trail.audit import verify
from registry.trail.key import key_file

from .attack_routes import routes
from .conftest import PASSWORD, Registry, request_for, running
from .postgresql import Server, new_database, server
from .test_routes import body_of, concrete

pytestmark = [pytest.mark.servers, pytest.mark.slow]

INNER = re.compile(r"SELECT |INSERT |UPDATE |psycopg2|sqlite3|sqlalchemy|Traceback|127\.0\.0\.1:\d|only of this test|\[SQL|Errno")
NEEDS_NONE = re.compile(
    r"/health|/version|/static-files/.*|/(ajax-)?api/3\.0/mlflow/server-info|/ajax-api/3\.0/mlflow/assistant/config"
)
"""What is answered without a database: that the server runs, its pages' pictures, what MLflow's pages ask before a log-in."""


@dataclass(frozen=True)
class Place:
    registry: Registry
    version: Version
    postgresql: Server
    database: str


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A registry on a PostgreSQL of its own, with one version."""
    folder = tmp_path_factory.mktemp("lost")
    with server() as postgresql:
        database = new_database(postgresql.address)
        with running(folder / "state", database) as registry:
            yield Place(registry, register(registry.trainer, request_for(folder, "lost", "a")), postgresql, database)


def ask(http: httpx.Client, registry: Registry, path: str, method: str, auth: tuple[str, str], body: object) -> httpx.Response:
    return http.request(
        method, f"{registry.url}/", auth=auth, json=None if method == "GET" else body, extensions={"target": path.encode()}
    )


def test_every_route_says_that_the_database_is_away(place: Place, tmp_path: Path) -> None:
    registry, version = place.registry, place.version
    with registry.vic.client() as client:
        experiment = client.get_run(version.run_id).info.experiment_id
    found = [(path, method) for path, methods in routes(tmp_path) for method in sorted(methods)]
    body = body_of(version, experiment)
    people = [("ana", registry.ana.password), ("ana", "wrong"), ("no-such", "wrong")]
    faults: list[str] = []
    place.postgresql.stop()
    try:
        with httpx.Client(timeout=60) as http:

            def one(what: tuple[tuple[str, str], tuple[str, str]]) -> None:
                (path, method), who = what
                answer = ask(http, registry, concrete(path, version, experiment), method, who, body)
                closed = answer.status_code == 403 and "is closed on this server" in answer.text
                if INNER.search(answer.text) or not (
                    closed or NEEDS_NONE.fullmatch(path) or (answer.status_code == 503 and answer.json()["message"] == STOPPED)
                ):
                    faults.append(f"{method} {path} as {who}: {answer.status_code} {answer.text[:300]}")

            asked = list(itertools.product(found, people))
            with ThreadPoolExecutor(4) as askers:
                list(askers.map(one, asked))
            page = http.get(f"{registry.url}/", auth=people[0], headers={"Accept": "text/html,*/*"})
    finally:
        place.postgresql.start()
    assert faults == [], "\n".join(faults[:40])
    assert len(asked) > 1500
    assert (page.status_code, page.headers["content-type"]) == (503, "text/html; charset=utf-8")
    assert "database does not answer" in page.text


def test_it_goes_on_without_a_restart_and_nothing_counts_against_anybody(place: Place, tmp_path: Path) -> None:
    registry = place.registry
    number = len(events(registry))
    bo = ("bo", registry.bo.password)
    place.postgresql.stop()
    try:
        for _ in range(30):  # five wrong ones would cost a second, twenty a minute
            assert registry.http.get(f"{registry.url}/changeover/health", auth=("bo", "wrong")).status_code == 503
        answer = registry.set_tag(registry.ana, place.version.product, "1", "qa.reason", "half done?")
        assert (answer.status_code, answer.json()["message"]) == (503, STOPPED)
    finally:
        place.postgresql.start()
    for path in ("/", "/changeover/health", "/changeover/events", "/api/2.0/mlflow/users/get?username=bo"):
        assert registry.http.get(f"{registry.url}{path}", auth=bo).status_code == 200, path
    assert "qa.reason" not in tags(registry, place.version)
    assert len(events(registry)) == number
    assert register(registry.trainer, request_for(tmp_path, "lost", "b")).version == "2"
    assert registry.set_tag(registry.ana, place.version.product, "1", "qa.reason", "whole").status_code == 200
    assert verify(place.database, key=key_file(registry.state)) == []


def test_an_event_that_the_database_swallows_stops_the_deed(place: Place) -> None:
    registry, before = place.registry, tags(place.registry, place.version)
    engine = sa.create_engine(place.database, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE RULE r AS ON INSERT TO changeover_events DO INSTEAD NOTHING")
        try:
            answer = registry.set_tag(registry.ana, place.version.product, "1", "qa.reason", "unseen?")
        finally:
            connection.exec_driver_sql("DROP RULE r ON changeover_events")
    engine.dispose()
    assert answer.status_code == 503 and "of the audit trail was swallowed" in answer.json()["message"], answer.text
    assert tags(registry, place.version) == before
    assert verify(place.database, key=key_file(registry.state)) == []


def events(registry: Registry) -> list[object]:
    found = registry.admin.call("GET", "/changeover/events")["events"]
    assert isinstance(found, list)
    return found


def tags(registry: Registry, version: Version) -> dict[str, str]:
    with registry.vic.client() as client:
        return dict(client.get_model_version(version.product, version.version).tags)


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Registry, Version]]:
    folder = tmp_path_factory.mktemp("lost-sqlite")
    with running(folder / "state") as registry:
        yield registry, register(registry.trainer, request_for(folder, "lost", "a"))


@contextmanager
def full_disk(registry: Registry) -> Iterator[None]:
    """The server's processes can write no file any further, as on a disk without room."""
    processes = [psutil.Process(registry.pid), *psutil.Process(registry.pid).children(recursive=True)]
    before = {one.pid: resource.prlimit(one.pid, resource.RLIMIT_FSIZE) for one in processes}
    for pid, (_, hard) in before.items():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (512, hard))
    try:
        yield
    finally:
        for pid, limit in before.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)


@contextmanager
def damaged(registry: Registry) -> Iterator[None]:
    """Somebody wrote over the beginning of the database."""
    with registry.database.open("r+b") as file:
        whole = file.read(4096)
        file.seek(0)
        file.write(b"no database" * 100)
        file.flush()
        try:
            yield
        finally:
            file.seek(0)
            file.write(whole)


@pytest.mark.parametrize(("trouble", "sentence"), [(full_disk, FULL), (damaged, DAMAGED)])
def test_sqlite_in_trouble(
    on_sqlite: tuple[Registry, Version],
    trouble: Callable[[Registry], AbstractContextManager[None]],
    sentence: str,
    tmp_path: Path,
) -> None:
    registry, version = on_sqlite
    number, before = len(events(registry)), tags(registry, version)
    name = trouble.__name__
    with trouble(registry):
        for who, path, body in (
            (registry.ana, "/ajax-api/2.0/mlflow/model-versions/set-tag",
             {"name": version.product, "version": "1", "key": "qa.reason", "value": "half done?"}),
            (registry.promoter, "/ajax-api/2.0/mlflow/registered-models/alias",
             {"name": version.product, "version": "1", "alias": "champion"}),
            (registry.trainer, "/changeover/events", {"action": "ingest", "product": "lost"}),
            (registry.admin, "/api/2.0/mlflow/users/create", {"username": name, "password": PASSWORD}),
            (registry.trainer, "/api/2.0/mlflow/runs/create", {"experiment_id": "0"}),
        ):  # fmt: skip
            answer = registry.post(who, path, body)
            assert (answer.status_code, answer.json()["message"]) == (503, sentence), path
            assert not INNER.search(answer.text)
        wrong = registry.http.get(f"{registry.url}/changeover/health", auth=("bo", "wrong"))
        assert wrong.status_code == 503  # its event cannot be written
    assert tags(registry, version) == before
    assert registry.http.get(f"{registry.url}/changeover/health", auth=("bo", registry.bo.password)).status_code == 200
    assert len(events(registry)) == number
    assert (
        registry.post(registry.admin, "/api/2.0/mlflow/users/create", {"username": name, "password": PASSWORD}).status_code == 200
    )
    assert register(registry.trainer, request_for(tmp_path, f"lost-{name.replace('_', '-')}", "b")).version == "1"
    assert verify(registry.database) == []


def test_an_upload_to_a_full_disk_is_refused_and_leaves_nothing(on_sqlite: tuple[Registry, Version]) -> None:
    registry, _ = on_sqlite
    with registry.trainer.client() as client:
        run = client.create_run("0")
    place = f"/api/2.0/mlflow-artifacts/artifacts/0/{run.info.run_id}/artifacts/large.bin"
    with full_disk(registry):
        answer = registry.http.put(f"{registry.url}{place}", content=b"x" * 200_000, auth=("trainer", registry.trainer.password))
    assert answer.status_code == 503, answer.text
    assert answer.json()["message"] in (DISK_FULL, FULL)
    assert not list((registry.state / "artifacts").rglob("large.bin*"))
    assert (
        registry.http.put(f"{registry.url}{place}", content=b"x", auth=("trainer", registry.trainer.password)).status_code == 200
    )


def test_a_database_file_that_was_exchanged_is_said(on_sqlite: tuple[Registry, Version], tmp_path: Path) -> None:
    registry, version = on_sqlite
    assert registry.http.get(f"{registry.url}/changeover/health", auth=("bo", registry.bo.password)).status_code == 200
    kept = registry.database.with_name("kept.db")
    registry.database.rename(kept)
    shutil.copy(kept, registry.database)
    answer = registry.set_tag(registry.ana, version.product, "1", "qa.reason", "into which?")
    kept.replace(registry.database)
    assert (answer.status_code, answer.json()["message"]) == (503, EXCHANGED)
    assert registry.set_tag(registry.ana, version.product, "1", "qa.reason", "into this").status_code == 200


def failure(statement: str, database: Path, *, mode: str = "rw") -> BaseException:
    """What SQLAlchemy raises for ``statement`` on a real file, at once where another holds the lock."""
    engine = sa.create_engine(f"sqlite:///file:{database}?mode={mode}&uri=true", connect_args={"timeout": 0})
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql(statement)
    except sa.exc.DBAPIError as problem:
        return problem
    finally:
        engine.dispose()
    raise AssertionError("nothing was refused")


def test_what_sqlite_says_becomes_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    with closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE t (x PRIMARY KEY)")
        other.execute("INSERT INTO t VALUES (1)")
        other.commit()
        assert sentence_of(failure("INSERT INTO t VALUES (2)", file, mode="ro")) == READ_ONLY
        assert sentence_of(failure("SELECT * FROM u", file)) == DAMAGED
        assert sentence_of(failure("SELECT 1", tmp_path / "none" / "a.db")) == STOPPED
        assert sentence_of(failure("INSERT INTO t VALUES (1)", file)) is None
        assert sentence_of(failure("nonsense", file)) is None
        other.execute("BEGIN IMMEDIATE")
        assert sentence_of(failure("INSERT INTO t VALUES (2)", file)) == BUSY


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ("53100", FULL), ("25006", READ_ONLY), ("55P03", BUSY), ("53300", BUSY), ("40P01", BUSY), ("57P01", STOPPED),
        ("57P03", STOPPED), ("08006", STOPPED), ("XX001", DAMAGED), ("42P01", DAMAGED), ("42501", NO_RIGHTS), ("P0001", None),
        ("23505", None), ("22P02", None),
    ],
)  # fmt: skip
def test_what_postgresql_says_becomes_a_sentence(place: Place, state: str, sentence: str | None) -> None:
    engine = sa.create_engine(place.database)
    with engine.connect() as connection, pytest.raises(sa.exc.DBAPIError) as raised:
        connection.exec_driver_sql(f"DO $$ BEGIN RAISE 'x' USING ERRCODE = '{state}'; END $$")
    engine.dispose()
    assert sentence_of(raised.value) == sentence
