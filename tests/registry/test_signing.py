"""Signing in one step: the password asked again, the report opened, one's own words, and nobody replaced."""

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from registry.client.connection import Connection
from registry.client.promote import promote
from registry.client.sign_off import sign_off, status
from registry.client.versions import Registration, Version, register, version_of, versions
from registry.errors import Refused
from registry.rules.rules import record_digest
from registry.trail.audit import read_events, verify

from .conftest import PASSWORD, Registry, request_for, running

pytestmark = pytest.mark.servers
Make = Callable[..., Registration]


@pytest.fixture
def version(registry: Registry, make_request: Make) -> Version:
    """A candidate that nobody has signed."""
    return register(registry.trainer, make_request())


def sign(registry: Registry, who: Connection | None, version: Version, decision: str, **more: Any) -> tuple[int, str]:
    """As the review page sends it, or with ``more`` of it otherwise."""
    body = {"product": version.product, "version": version.version, "decision": decision, "meaning": "reviewed",
            "reason": "all worst cases looked at", "password": PASSWORD, "way": "page", "notes": []}  # fmt: skip
    answer = registry.post(who, "/changeover/sign", body | more)
    return answer.status_code, answer.json().get("message", "") if answer.status_code >= 400 else str(answer.json()["changed"])


def open_report(registry: Registry, who: Connection, version: Version) -> int:
    address = f"{registry.url}/changeover/review/report?product={version.product}&version={version.version}"
    return registry.http.get(address, auth=(who.user, who.password)).status_code


def tags_of(registry: Registry, version: Version) -> dict[str, str]:
    return dict(version_of(registry.vic, version.product, version.version).tags)


def test_the_page_asks_for_report_and_password(registry: Registry, version: Version) -> None:
    assert "has not opened the report" in sign(registry, registry.ana, version, "approved")[1]
    assert open_report(registry, registry.bo, version) == 200
    assert "'ana' has not opened" in sign(registry, registry.ana, version, "approved")[1], "somebody else's look is not hers"
    assert open_report(registry, registry.ana, version) == open_report(registry, registry.ana, version) == 200
    for wrong in ("", "x", PASSWORD.upper(), PASSWORD + " "):
        assert sign(registry, registry.ana, version, "approved", password=wrong)[0] in (400, 403)
    assert tags_of(registry, version)["qa"] == "pending"
    assert sign(registry, registry.ana, version, "approved", meaning="responsible") == (200, "True")
    tags = tags_of(registry, version)
    assert [tags[key] for key in ("qa.by", "qa.name", "qa.meaning", "qa.way", "qa.reason")] == [
        "ana", "Ana Example", "responsible", "page", "all worst cases looked at"
    ]  # fmt: skip
    opened = [event.actor for event in read_events(registry.database, version.product) if event.action == "report.open"]
    assert opened == ["bo", "ana"], "each once"
    signed = [e for e in read_events(registry.database, version.product) if e.subject == "qa" and e.allowed]
    assert signed[-1].reason == "all worst cases looked at [responsible, page]"
    assert promote(registry.promoter, version.product).version == "1"


def test_the_same_decision_again_changes_nothing(registry: Registry, version: Version) -> None:
    assert sign_off(registry.ana, version.product, "1", "approved", "fine").valid
    promote(registry.promoter, version.product)
    before, events = tags_of(registry, version), len(read_events(registry.database, version.product))
    assert sign_off(registry.ana, version.product, "1", "approved", "fine").valid
    assert version_of(registry.vic, version.product, "1").aliases == ("champion",)
    assert (tags_of(registry, version), len(read_events(registry.database, version.product))) == (before, events)
    with pytest.raises(Refused, match="withdraw the sign-off first"):
        sign_off(registry.ana, version.product, "1", "approved", "in other words")
    with pytest.raises(Refused, match="withdraw the sign-off first"):
        sign_off(registry.bo, version.product, "1", "approved", "fine")
    with pytest.raises(Refused, match="no signature replaces another"):
        sign_off(registry.bo, version.product, "1", "rejected", "not fine")
    assert tags_of(registry, version) == before


def test_nobody_signs_with_another_persons_words(registry: Registry, version: Version) -> None:
    product = version.product
    assert registry.set_tag(registry.ana, product, "1", "qa.reason", "my words").status_code == 200
    note = '[{"picture": "good.png", "left": 0.1, "top": 0.1, "right": 0.2, "bottom": 0.2, "text": "a smear"}]'
    assert registry.set_tag(registry.ana, product, "1", "qa.notes", note).status_code == 200
    answer = registry.set_tag(registry.bo, product, "1", "qa", "approved")
    assert answer.status_code == 403 and "is that of 'ana'" in answer.json()["message"]
    assert registry.set_tag(registry.bo, product, "1", "qa.reason", "bo's words").status_code == 200
    answer = registry.set_tag(registry.bo, product, "1", "qa", "rejected")
    assert answer.status_code == 403 and "notes" in answer.json()["message"]
    found = sign_off(registry.bo, product, "1", "approved", "in bo's words")
    tags = tags_of(registry, version)
    assert (found.valid, tags["qa.reason"], tags["qa.reason.by"]) == (True, "in bo's words", "bo")
    assert "qa.notes" not in tags, "they were ana's"
    sign_off(registry.ana, product, "1", "pending", "I saw a smear")
    assert not {"qa.reason", "qa.reason.by", "qa.notes"} & set(tags_of(registry, version)), "a new signature has its own"
    for key in ("qa.reason.by", "qa.notes.by", "qa.name", "qa.meaning", "qa.way"):
        for who in (registry.ana, registry.admin, registry.trainer):
            assert registry.set_tag(who, product, "1", key, "bo").status_code == 403


def test_a_refused_signature_leaves_no_reason_behind(registry: Registry, make_request: Make) -> None:
    version = register(registry.trainer, make_request(passed=False))
    with pytest.raises(Refused, match="failed its gates"):
        sign_off(registry.ana, version.product, "1", "approved", "good enough")
    assert "qa.reason" not in tags_of(registry, version)


def test_a_tag_signature_is_marked_as_one(registry: Registry, version: Version) -> None:
    registry.set_tag(registry.ana, version.product, "1", "qa.reason", "seen")
    assert registry.set_tag(registry.ana, version.product, "1", "qa", "approved").status_code == 200
    assert (status(registry.vic, version.product, "1").way, status(registry.vic, version.product, "1").valid) == ("tag", True)
    with sqlite3.connect(registry.database) as database:  # somebody with the database calls it more than it was
        database.execute("UPDATE model_version_tags SET value = 'page' WHERE name = ? AND key = 'qa.way'", (version.product,))
    assert "is not what was signed" in status(registry.vic, version.product, "1").problem


def test_waiving_in_one_step(registry: Registry, make_request: Make) -> None:
    version = register(registry.trainer, make_request(passed=False))
    sign_off(registry.bo, version.product, "1", "waived", "one image has a print error")
    sign_off(registry.bo, version.product, "1", "waived", "one image has a print error")
    with pytest.raises(Refused, match="a second person"):
        sign_off(registry.bo, version.product, "1", "approved", "as I said")
    assert sign_off(registry.ana, version.product, "1", "approved", "I agree").valid
    assert version_of(registry.vic, version.product, "1").aliases == ("candidate",)


@pytest.mark.parametrize(
    "wrong",
    [{"decision": "Approved"}, {"version": "01"}, {"version": 1}, {"reason": " "}, {"meaning": "seen"}, {"way": "tag"},
     {"notes": "x"}, {"product": "../x"}, {"more": 1}, {"notes": [{"picture": "../x"}]}, {"password": None}],
    ids=lambda one: next(iter(one.items())).__repr__(),
)  # fmt: skip
def test_bodies_that_are_none(registry: Registry, version: Version, wrong: dict[str, Any]) -> None:
    before = len(read_events(registry.database))
    decision, more = wrong.get("decision", "approved"), {key: value for key, value in wrong.items() if key != "decision"}
    if "version" in more:
        version = replace(version, version=more.pop("version"))
    assert sign(registry, registry.ana, version, decision, **more)[0] in (400, 403)
    assert len(read_events(registry.database)) > before
    assert version_of(registry.vic, version.product, "1").qa == "pending"


@pytest.mark.parametrize("name", ["admin", "trainer", "promoter", "vic", "bare"])
def test_others_sign_nothing(registry: Registry, version: Version, name: str) -> None:
    who: Connection = getattr(registry, name)
    for decision in ("approved", "rejected", "pending", "waived"):
        code, words = sign(registry, who, version, decision, password=who.password, way="terminal")
        assert code == 403 and "only role qa" in words
    assert tags_of(registry, version)["qa"] == "pending"


def test_who_asked_for_a_changeover_does_not_sign_it(registry: Registry, make_request: Make) -> None:
    for asked, who, other in (("user:ana", registry.ana, registry.bo), ("os:Bo", registry.bo, registry.ana)):
        request = make_request(asked.partition(":")[2], threshold=0.3 if who is registry.ana else 0.4)
        version = register(registry.trainer, replace(request, requested_by=asked))
        assert tags_of(registry, version)["changeover.requested_by"] == asked
        for decision in ("approved", "rejected"):
            with pytest.raises(Refused, match="nobody signs what they asked for"):
                sign_off(who, version.product, version.version, decision, "mine")
        answer = registry.set_tag(who, version.product, version.version, "qa.reason", "mine")
        assert answer.status_code == 403
        assert sign_off(other, version.product, version.version, "approved", "theirs").valid


def test_strict_signatures_are_given_on_the_page_alone(tmp_path: Path) -> None:
    with running(tmp_path / "state", signature="strict") as registry:
        version = register(registry.trainer, request_for(tmp_path, "bolt", "a"))
        for key, value in (("qa.reason", "fine"), ("qa", "approved"), ("qa.waiver", "fine")):
            assert registry.set_tag(registry.ana, "bolt", "1", key, value).status_code == 403
        with pytest.raises(Refused, match="on the review page alone"):
            sign_off(registry.ana, "bolt", "1", "approved", "fine")
        assert "has not opened" in sign(registry, registry.ana, version, "approved")[1]
        assert open_report(registry, registry.ana, version) == 200
        assert sign(registry, registry.ana, version, "approved") == (200, "True")
        assert promote(registry.promoter, "bolt").version == "1"
        # Taking an approval back is always possible, and quick.
        assert registry.set_tag(registry.bo, "bolt", "1", "qa", "pending").status_code == 200
        assert versions(registry.vic, "bolt")[0].aliases == ()
        assert verify(registry.database) == []


def test_a_forged_record_of_a_signature_is_found_though_its_digest_is_right(registry: Registry, version: Version) -> None:
    """With the database in hand somebody rewrites who signed, and the digest over it."""
    sign_off(registry.ana, version.product, "1", "approved", "fine")
    tags = tags_of(registry, version) | {"qa.by": "bo", "qa.name": "Bo Example"}
    tags["qa.record"] = record_digest(tags)
    with sqlite3.connect(registry.database) as database:
        for key in ("qa.by", "qa.name", "qa.record"):
            database.execute(
                "UPDATE model_version_tags SET value = ? WHERE name = ? AND key = ?", (tags[key], version.product, key)
            )
    with pytest.raises(Refused, match=r"the audit trail holds no approval of .* by 'bo'"):
        promote(registry.promoter, version.product)
