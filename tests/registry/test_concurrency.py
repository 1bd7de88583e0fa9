"""Many people sign at once, over several workers: every attempt is answered, judged once, and on record once."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from registry.client.connection import Connection
from registry.client.versions import Version, register, version_of
from registry.trail.audit import read_events, verify
from registry.trail.events import Event
from registry.trail.key import key_file

from .conftest import PASSWORD, Registry, add_person, request_for, running

pytestmark = [pytest.mark.servers, pytest.mark.slow]

LONG = bool(os.environ.get("CHANGEOVER_LONG_TESTS"))
AT_ONCE, WORKERS, VERSIONS = 40, 4, 3
ATTEMPTS = 200 if LONG else 60


# Locks within one SQLite file are tried by everything else; in short form only the database that several workers are meant for.
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"] if LONG else ["postgresql"])
def test_many_sign_offs_at_once(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    database = request.getfixturevalue("postgresql")() if kind == "postgresql" else None
    with running(tmp_path / "state", database, WORKERS) as registry:
        server = psutil.Process(registry.pid)
        assert not any("only of this test" in " ".join(one.cmdline()) for one in (server, *server.children(recursive=True)))
        for name in ("cleo", "dan"):
            add_person(registry.admin, name, "qa")
        people = [registry.ana, registry.bo, *(Connection(registry.url, name, PASSWORD) for name in ("cleo", "dan"))]
        versions = [
            register(registry.trainer, request_for(tmp_path, "bolt", f"batch-{n}", threshold=0.1 + n / 10))
            for n in range(VERSIONS)
        ]
        for one in versions:
            assert registry.set_tag(registry.ana, "bolt", one.version, "qa.reason", "looked at").status_code == 200
        source = database or registry.database
        before = len(read_events(source))
        answers = sign_at_once(registry, people, versions)
        tags = {one.version: dict(version_of(registry.vic, "bolt", one.version).tags) for one in versions}
        assert verify(source, key=key_file(tmp_path / "state")) == []
        events = read_events(source)[before:]
    assert {code for *_, code in answers} == {200, 403}, [answer for answer in answers if answer[-1] not in (200, 403)]
    signed = [one for one in events if (one.action, one.subject) == ("tag.set", "qa")]
    assert sorted((one.actor, one.version, one.after, 200 if one.allowed else 403) for one in signed) == sorted(answers)
    # What follows from a decision is an event of its own: who is candidate, and a flag on an account that was just made.
    follow = {("alias.set", "candidate"), ("alias.delete", "candidate")}
    follow |= {("signature.flagged", who.user) for who in people}
    assert {(one.action, one.subject) for one in events if one not in signed} <= follow
    for version in versions:
        last = [one for one in signed if one.version == version.version and one.allowed][-1]
        check_stamps(tags[version.version], version, last)


def check_stamps(tags: dict[str, str], version: Version, last: Event) -> None:
    """The version stands as the last allowed event left it."""
    assert (tags["qa"], tags["qa.by"], tags["qa.digest"]) == (last.after, last.actor, version.digest)
    assert tags["qa.at"] >= last.time.isoformat(timespec="seconds")


def decision(number: int) -> str:
    """Back and forth, and near the end one rejection of each version, which is final."""
    if number >= 150 and number % 16 == 0:
        return "rejected"
    return "approved" if number // 7 % 2 else "pending"


def sign_at_once(registry: Registry, people: list[Connection], versions: list[Version]) -> list[tuple[str, str, str, int]]:
    """Who tried to set which version to what, and the status that answered them."""
    together = threading.Barrier(AT_ONCE)

    def sign(thread: int) -> list[tuple[str, str, str, int]]:
        answers = []
        with httpx.Client(timeout=60, trust_env=False) as http:
            together.wait()
            for number in range(thread, ATTEMPTS, AT_ONCE):
                who, version = people[number % len(people)], versions[number % len(versions)].version
                body = {"name": "bolt", "version": version, "key": "qa", "value": decision(number)}
                path = "/ajax-api/2.0/mlflow/model-versions/set-tag"
                answer = http.post(registry.url + path, json=body, auth=(who.user, who.password))
                answers.append((who.user, version, decision(number), answer.status_code))
        return answers

    with ThreadPoolExecutor(AT_ONCE) as threads:
        return [one for some in threads.map(sign, range(AT_ONCE)) for one in some]
