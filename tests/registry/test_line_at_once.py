"""What is withdrawn, rejected or rolled back leaves the line in the same step, whether or not anything else runs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.client.promote import promote
from registry.client.publish import publish
from registry.client.sign_off import sign_off
from registry.client.versions import register
from registry.line import read_published
from registry.signature import PublicKey
from registry.trail.audit import read_events, verify

from .conftest import Registry, request_for

pytestmark = pytest.mark.servers


@pytest.fixture
def two(plant: tuple[Registry, Path], product: str, tmp_path: Path) -> Callable[[], str | None]:
    """Version 2 is on the line, version 1 was before; gives the version that the line reads."""
    registry, line = plant
    for number, shade in (("1", 0.3), ("2", 0.4)):
        register(registry.trainer, request_for(tmp_path, product, number, threshold=shade))
        sign_off(registry.ana, product, number, "approved", "fine")
        promote(registry.promoter, product)
        publish(registry.promoter, product, number, line)

    def now() -> str | None:
        if not (line / product / "current.json").exists():
            return None
        return read_published(line, product, PublicKey.read(line / product / "publisher.pub")).version

    assert now() == "2"
    return now


def test_withdrawn_on_the_page_of_mlflow_too(plant: tuple[Registry, Path], product: str, two: Callable[[], str | None]) -> None:
    registry, line = plant
    sign_off(registry.bo, product, "2", "pending", "a customer complains")
    assert two() == "1", "signed by the publisher's key, checked as a line does"
    assert (line / product / "current.json").stat().st_mode & 0o444 == 0o444, "lines run as other users"
    assert registry.set_tag(registry.bo, product, "1", "qa", "pending").status_code == 200
    assert two() is None
    done = [(e.actor, e.action, e.version) for e in read_events(registry.database, product) if e.action in ("publish", "retract")]
    assert done == [("(server)", "publish", "1"), ("(server)", "retract", "")]
    assert verify(registry.database) == []


def test_rolled_back(plant: tuple[Registry, Path], product: str, two: Callable[[], str | None]) -> None:
    registry, _ = plant
    body = {"product": product, "reason": "misses chips"}
    assert registry.post(registry.ana, "/changeover/roll-back", body).status_code == 200
    assert two() == "1"


def test_a_version_before_that_is_not_there_whole_is_not_pointed_at(
    plant: tuple[Registry, Path], product: str, two: Callable[[], str | None]
) -> None:
    registry, line = plant
    (folder,) = line.glob(f"{product}/1-*")
    (folder / "card.json").write_text(json.dumps({"product": product}))
    sign_off(registry.bo, product, "2", "pending", "a customer complains")
    assert two() is None, "a line without a pointer inspects nothing; serve or promote publishes version 1 whole"


@pytest.mark.parametrize("path", ["/changeover/roll-back", "/changeover/sign", "/changeover/requests"])
@pytest.mark.parametrize("what", ["no-such-product", "teacher-x", "../x", ""])
def test_what_is_not_there_is_said_and_recorded(plant: tuple[Registry, Path], path: str, what: str) -> None:
    registry, _ = plant
    before = len(read_events(registry.database))
    body = {"product": what, "version": "7", "reason": "x", "decision": "approved", "password": registry.ana.password,
            "way": "terminal", "batch": "b"}  # fmt: skip
    fields = {"/changeover/roll-back": ("product", "reason"), "/changeover/requests": ("product", "batch")}
    wanted = fields.get(path, ("product", "version", "reason", "decision", "password", "way"))
    answer = registry.post(registry.ana, path, {key: body[key] for key in wanted})
    assert answer.status_code in ((400, 403, 404) if path != "/changeover/requests" or what != "no-such-product" else (200,))
    assert "message" in answer.json() or answer.status_code == 200
    assert len(read_events(registry.database)) == before + 1
