"""Log-ins: equal time for every name, growing delays, who is at work is not locked out, events that do not fill the trail."""

import base64
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from werkzeug.security import check_password_hash, generate_password_hash

from registry.server.delays import MOST, Delays
from registry.server.log_ins import LogIns, credentials
from registry.server.strangers import EACH_MINUTE, Strangers
from registry.trail.events import Entry, Trail

RIGHT = "correct horse battery"
HERE = "127.0.0.1"


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class People:
    """Users with one password, without hashes."""

    def __init__(self, *names: str) -> None:
        self.names = set(names)
        self.asked = 0

    def authenticate_user(self, username: str, password: str) -> bool:
        self.asked += 1
        return username in self.names and password == RIGHT

    def has_user(self, username: str) -> bool:
        return username in self.names


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def people(monkeypatch: pytest.MonkeyPatch) -> People:
    monkeypatch.setattr("registry.server.log_ins.check_password_hash", lambda _hash, _password: False)
    return People("ana", "bo")


class Hashed:
    """One user, as MLflow's store of users has her: an unknown name costs no hash there."""

    def __init__(self) -> None:
        self.hash = generate_password_hash(RIGHT)

    def authenticate_user(self, username: str, password: str) -> bool:
        return username == "ana" and check_password_hash(self.hash, password)

    def has_user(self, username: str) -> bool:
        return username == "ana"


def test_every_name_costs_one_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes: list[int] = []
    scrypt = hashlib.scrypt

    def counted(password: bytes, **how: Any) -> bytes:
        hashes.append(how["n"])
        return scrypt(password, **how)

    log_ins = LogIns(Hashed())
    monkeypatch.setattr(hashlib, "scrypt", counted)
    for name in ("ana", "nobody", "", "a" * 5000, "a\0b", "\u200bana", "\ud800"):
        hashes.clear()
        assert not log_ins.log_in(name, "wrong", name).right
        assert hashes == [32768], repr(name)


def test_known_and_unknown_names_take_the_same_time() -> None:
    log_ins = LogIns(Hashed())

    def median(name: str) -> float:
        times = []
        for number in range(7):
            begin = time.thread_time()
            log_ins.verify(name, "wrong", f"10.0.{name == 'ana'}.{number}")
            times.append(time.thread_time() - begin)
        return sorted(times)[3]

    known, unknown = median("ana"), median("nobody")
    assert 0.6 < known / unknown < 1.7, (known, unknown)


def test_a_password_is_looked_up_anew_and_counts(people: People, clock: Clock) -> None:
    log_ins = LogIns(people, quick=lambda *_: True, now=clock)
    assert log_ins.log_in("ana", "of a cache", HERE).right
    assert log_ins.verify("ana", RIGHT, HERE) is None
    for _ in range(5):
        assert "not right" in (log_ins.verify("ana", "wrong", HERE) or "")
    assert "try again in 1 seconds" in (log_ins.verify("ana", "wrong", HERE) or "")
    assert log_ins.verify("ana", "wrong \ud800", "10.0.0.9") is not None


def test_the_delay_doubles_up_to_a_minute_and_no_password_is_looked_at_meanwhile(people: People, clock: Clock) -> None:
    log_ins = LogIns(people, now=clock)
    waits = []
    for _ in range(14):
        while (outcome := log_ins.log_in("ana", "wrong", HERE)).wait:
            asked = people.asked
            assert not log_ins.log_in("ana", RIGHT, HERE).right, "even the right one"
            assert people.asked == asked
            waits.append(outcome.wait)
            clock.seconds += outcome.wait
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    clock.seconds += 61
    assert log_ins.log_in("ana", RIGHT, HERE).right
    assert not any(log_ins.log_in("ana", "wrong", HERE).wait for _ in range(5)), "a right one ends the row"


def test_an_address_is_slowed_down_whoever_it_names_and_others_are_not(people: People, clock: Clock) -> None:
    log_ins = LogIns(people, now=clock)
    for number in range(20):
        assert not log_ins.log_in(f"user-{number}", "wrong", "10.0.0.1").wait
    assert log_ins.log_in("bo", RIGHT, "10.0.0.1").wait == 1
    assert log_ins.log_in("bo", RIGHT, "10.0.0.2").right
    clock.seconds += 15 * 60 + 1
    assert not any(log_ins.log_in(f"other-{number}", "wrong", "10.0.0.1").wait for number in range(20)), "it is forgotten"


def test_who_is_at_work_is_not_locked_out(people: People, clock: Clock) -> None:
    log_ins = LogIns(people, now=clock)
    assert log_ins.log_in("ana", RIGHT, HERE).right
    for number in range(40):
        log_ins.log_in(("ana", "bo", f"user-{number}")[number % 3], "wrong", HERE)
    assert log_ins.log_in("bo", RIGHT, HERE).wait > 0
    assert log_ins.log_in("ana", RIGHT, HERE).right
    people.names.remove("ana")  # dismissed: remembered, but checked all the same
    assert not log_ins.log_in("ana", RIGHT, HERE).right
    assert log_ins.log_in("ana", RIGHT, HERE).wait > 0
    people.names.add("ana")
    clock.seconds += 61
    assert log_ins.log_in("ana", RIGHT, HERE).right
    clock.seconds += 601
    assert not log_ins.remembers("ana", RIGHT)


def test_memory_is_bounded(clock: Clock) -> None:
    delays = Delays(clock)
    for number in range(MOST + 100):
        delays.failed("ana", f"address {number}")
    assert len(delays._failures) == MOST


@pytest.mark.parametrize(
    "headers",
    [[], [b""], [b"Bearer abc"], [b"Basic"], [b"Basic "], [b"Basic !!!!"], [b"Basic YW5h"], [b"Basic YW5hOng"],
     [b"Basic " + base64.b64encode(b"\xff:x")], [b"Basic YW5hOng=", b"Basic YW5hOng="], [b"Basic YW5hOng=, Basic YW5hOng="],
     [b"Basic YW5h\tOng="], [b"Negotiate YW5hOng="]],
)  # fmt: skip
def test_what_is_no_log_in(headers: list[bytes]) -> None:
    assert credentials(headers) is None


def test_what_is_a_log_in() -> None:
    assert credentials([b"basic YW5hOng="]) == ("ana", "x")
    assert credentials([b"Basic " + base64.b64encode("ana:für:mich".encode())]) == ("ana", "für:mich")


@pytest.fixture
def trail(tmp_path: Path) -> Iterator[Trail]:
    found = Trail(f"sqlite:///{tmp_path}/trail.db")
    found.prepare()
    yield found
    found.close()


def attempt(number: int) -> Entry:
    return Entry(
        actor="(unauthenticated)", action="log-in", subject=f"user-{number}", address=f"10.0.0.{number % 3}", allowed=False
    )


def test_a_flood_of_attempts_is_some_events_and_a_count(trail: Trail) -> None:
    strangers = Strangers(trail, minute=3.0)
    for number in range(5332):
        strangers.record(attempt(number))
    deadline = time.monotonic() + 20
    while len(trail.events()) == EACH_MINUTE and time.monotonic() < deadline:
        time.sleep(0.05)
    events = trail.events()
    assert [one.subject for one in events[:EACH_MINUTE]] == [f"user-{number}" for number in range(EACH_MINUTE)]
    (rest,) = events[EACH_MINUTE:]
    assert rest.reason == "and 5,312 more attempts from 3 addresses in the last minute, the last as 'user-5331'"
    assert (rest.actor, rest.action, rest.allowed) == ("(unauthenticated)", "log-in", False)
    strangers.record(attempt(1))
    assert len(trail.events()) == EACH_MINUTE + 2, "the next minute begins anew"


def test_the_count_is_written_at_the_end(trail: Trail) -> None:
    strangers = Strangers(trail, minute=1000.0)
    for number in range(EACH_MINUTE + 1):
        strangers.record(attempt(number))
    strangers.close()
    strangers.close()
    assert trail.events()[-1].reason == "and 1 more attempts from 1 addresses in the last minute, the last as 'user-20'"
    assert len(trail.events()) == EACH_MINUTE + 1


def test_attempts_that_the_trail_could_not_take_are_counted_on(tmp_path: Path) -> None:
    trail = Trail(f"sqlite:///{tmp_path / 'mlflow.db'}")
    trail.prepare()
    strangers = Strangers(trail)
    for number in range(EACH_MINUTE + 3):
        strangers.record(Entry(actor="nobody", action="log-in", subject=f"user {number}", address=HERE, allowed=False))
    with trail.engine.connect() as connection:
        connection.exec_driver_sql("ALTER TABLE changeover_events RENAME TO away")
        for _ in range(2):  # as at the end of each minute
            with pytest.raises(OperationalError, match="no such table"):
                strangers.close()
        connection.exec_driver_sql("ALTER TABLE away RENAME TO changeover_events")
    strangers.record(Entry(actor="nobody", action="log-in", subject="one more", address=HERE, allowed=False))
    strangers.close()
    assert trail.events()[-1].reason.startswith("and 4 more attempts from 1 addresses in the last minute, the last as 'one more'")
    trail.close()
