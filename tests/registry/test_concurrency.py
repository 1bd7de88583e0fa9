"""Many people sign at once, over several workers: every attempt is answered, judged once, and on record once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from registry.audit import read_events, verify
from registry.connection import Connection
from registry.events import Event
from registry.users import add_user
from registry.versions import Version, register, version_of

from .conftest import PASSWORD, Registry, request_for, running

pytestmark = [pytest.mark.servers, pytest.mark.slow]

ATTEMPTS, AT_ONCE, WORKERS, VERSIONS = 200, 40, 4, 3
DECISIONS = ("approved", "rejected", "pending")


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_200_sign_offs_at_once(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    database = request.getfixturevalue("postgresql")() if kind == "postgresql" else None
    with running(tmp_path / "state", database, WORKERS) as registry:
        server = psutil.Process(registry.pid)
        assert not any("only of this test" in " ".join(one.cmdline()) for one in (server, *server.children(recursive=True)))
        for name in ("cleo", "dan"):
            add_user(registry.admin, name, PASSWORD, "qa")
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
        assert verify(source) == []
        events = read_events(source)[before:]
    assert {code for _, _, code in answers} <= {200, 403}, [answer for answer in answers if answer[2] not in (200, 403)]
    assert len(events) == ATTEMPTS
    for (who, what), code in ((attempt, code) for *attempt, code in answers):
        assert (who, what, code == 200) in {(one.actor, (one.version, one.after), one.allowed) for one in events}
    wanted = sorted((who, *what) for who, what, code in answers if code == 200)
    assert sorted((one.actor, one.version, one.after) for one in events if one.allowed) == wanted
    assert all(one.action == "tag.set" and one.subject == "qa" for one in events)
    for version in versions:
        last = [one for one in events if one.version == version.version and one.allowed][-1]
        check_stamps(tags[version.version], version, last)


def check_stamps(tags: dict[str, str], version: Version, last: Event) -> None:
    """The version stands as the last allowed event left it."""
    assert (tags["qa"], tags["qa.by"], tags["qa.digest"]) == (last.after, last.actor, version.digest)
    assert tags["qa.at"] >= last.time.isoformat(timespec="seconds")


def sign_at_once(registry: Registry, people: list[Connection], versions: list[Version]) -> list[tuple[str, Any, int]]:
    """Who tried what, and the status that answered them."""
    gate = threading.Barrier(AT_ONCE)

    def sign(worker: int) -> list[tuple[str, Any, int]]:
        answers = []
        with httpx.Client(timeout=60, trust_env=False) as http:
            gate.wait()
            for number in range(worker, ATTEMPTS, AT_ONCE):
                who = people[number % len(people)]
                what = (versions[number % len(versions)].version, DECISIONS[number // 7 % len(DECISIONS)])
                body = {"name": "bolt", "version": what[0], "key": "qa", "value": what[1]}
                path = "/ajax-api/2.0/mlflow/model-versions/set-tag"
                answer = http.post(registry.url + path, json=body, auth=(who.user, who.password))
                answers.append((who.user, what, answer.status_code))
        return answers

    with ThreadPoolExecutor(AT_ONCE) as threads:
        return [one for some in threads.map(sign, range(AT_ONCE)) for one in some]
