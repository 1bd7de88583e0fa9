"""One of three workers of a real server dies by SIGKILL while a lock in PostgreSQL holds it in the middle of a deed."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import sqlalchemy as sa

from registry.client.flags import put_back_aliases
from registry.client.promote import promote
from registry.client.publish import publish
from registry.client.sign_off import sign_off
from registry.client.versions import register, versions
from registry.errors import RegistryError
from registry.trail.audit import read_events, verify
from registry.trail.key import key_file

from .conftest import Registry, request_for, running, vouch

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory, postgresql: Callable[[], str]) -> Iterator[tuple[Registry, str]]:
    folder, database = tmp_path_factory.mktemp("plant"), postgresql()
    (folder / "state").mkdir()
    with running(folder / "state", database, workers=3, published=folder / "line") as registry:
        vouch(registry, folder)
        yield registry, database


def kill_while_waiting_for(table: str, registry: Registry, database: str, deed: Callable[[], object]) -> list[Exception]:
    """Does ``deed`` until it waits for ``table``, and kills the worker that does it; what its client was told."""
    engine = sa.create_engine(database, poolclass=sa.NullPool)
    failed: list[Exception] = []

    def ask() -> None:
        try:
            deed()
        except (RegistryError, httpx.HTTPError) as problem:
            failed.append(problem)

    asking = threading.Thread(target=ask)
    with engine.begin() as lock:
        lock.exec_driver_sql(f"LOCK TABLE {table} IN SHARE MODE")  # it can be read, but not written
        asking.start()
        os.kill(_worker(registry, _waiting(engine)), signal.SIGKILL)
    asking.join(60)
    return failed


def _waiting(engine: sa.Engine) -> int:
    """The port from which somebody waits for a lock."""
    query = "SELECT client_port FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with engine.connect() as connection:
            found = connection.exec_driver_sql(f"{query} AND wait_event = 'relation'").scalar()
        if found is not None:
            return int(found)
        time.sleep(0.1)
    pytest.fail("nobody waits for the table")


def _worker(registry: Registry, port: int) -> int:
    for process in psutil.Process(registry.pid).children(recursive=True):
        if any(one.laddr and one.laddr.port == port for one in process.net_connections("tcp")):
            return process.pid
    pytest.fail("no worker has that connection")


def names(registry: Registry, product: str) -> dict[str, str]:
    return {alias: one.version for one in versions(registry.vic, product) for alias in one.aliases}


def test_a_promotion(plant: tuple[Registry, str], product: str, tmp_path: Path) -> None:
    registry, database = plant
    register(registry.trainer, request_for(tmp_path, product, "a"))
    sign_off(registry.ana, product, "1", "approved", "fine")
    before = [event.seq for event in read_events(database, product)]
    assert kill_while_waiting_for("registered_model_aliases", registry, database, lambda: promote(registry.promoter, product))
    assert [event.seq for event in read_events(database, product)] == before, "no event of what was not done"
    sign_off(registry.bo, product, "1", "pending", "scratches pass")
    assert put_back_aliases(registry.promoter) == [], "nothing is put back, and nobody blamed"
    assert names(registry, product) == {"candidate": "1"}
    sign_off(registry.ana, product, "1", "approved", "looked again")
    assert promote(registry.promoter, product).changed
    assert verify(database, key=key_file(registry.state)) == []


def test_a_withdrawal(plant: tuple[Registry, str], product: str, tmp_path: Path) -> None:
    registry, database = plant
    line = registry.state.parent / "line"
    register(registry.trainer, request_for(tmp_path, product, "a"))
    sign_off(registry.ana, product, "1", "approved", "fine")
    promote(registry.promoter, product)
    publish(registry.promoter, product, "1", line)

    def withdraw() -> None:
        sign_off(registry.bo, product, "1", "pending", "scratches pass")

    before = {event.seq for event in read_events(database, product)}
    assert kill_while_waiting_for("model_version_tags", registry, database, withdraw)
    (known,) = versions(registry.vic, product)
    assert (known.qa, names(registry, product)) == ("approved", {"champion": "1"})
    put_back_aliases(registry.promoter)
    # By us, or before us by the worker that was started in the dead one's place.
    missing = [(event.action, event.version) for event in read_events(database, product) if event.seq not in before]
    assert missing == [("publish", "1")], "only its event was missing here"
    withdraw()
    assert names(registry, product) == {} and not (line / product / "current.json").exists()
    assert verify(database, key=key_file(registry.state)) == []


def test_a_registration(plant: tuple[Registry, str], product: str, tmp_path: Path) -> None:
    registry, database = plant
    request = request_for(tmp_path, product, "a")
    # MLflow's client asks once more by itself, and another worker does it.
    kill_while_waiting_for("model_version_tags", registry, database, lambda: register(registry.trainer, request))
    assert register(registry.trainer, request).version == "1"
    assert [event.version for event in read_events(database, product) if event.action == "register"] == ["1"]
    sign_off(registry.ana, product, "1", "approved", "fine")
    assert verify(database, key=key_file(registry.state)) == []
