"""Every state of a version, every deed in it: what is refused in words, and where each allowed one leads."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.client.promote import promote
from registry.client.sign_off import sign_off, status
from registry.client.versions import register, version_of
from registry.errors import RegistryError
from registry.rules.facts import VersionFacts
from registry.rules.states import STATES, way_on

from .conftest import Registry, request_for

DEEDS = ("approved", "rejected", "pending", "waived", "promote")
LEADS = {
    "unsigned": {"approved": "approved", "rejected": "rejected"},
    "failed": {"waived": "waived", "rejected": "rejected"},
    "waived": {"approved": "approved", "rejected": "rejected"},
    "approved": {"pending": "unsigned", "promote": "champion"},
    "champion": {"pending": "unsigned", "promote": "champion"},
    "previous": {"pending": "unsigned", "promote": "champion"},
    "rolled-back": {"pending": "unsigned"},
    "void": {"pending": "unsigned"},
    "rejected": {},
}
"""From each state the deeds that are allowed, and the state after each; every other deed is refused and changes nothing."""
_COUNT = itertools.count(1)


class Product:
    """One product with a version in a state; its decisions are bo's, and ana tries the deeds."""

    def __init__(self, registry: Registry, folder: Path, state: str) -> None:
        self.registry, self.name, self.number = registry, f"state-{state}-{next(_COUNT)}", "1"
        self._request = lambda batch, shade, passed=True: request_for(folder, self.name, batch, threshold=shade, passed=passed)
        gates = state not in ("failed", "waived")
        self.first = register(registry.trainer, self._request("a", 0.3, gates))
        {"failed": self._nothing, "unsigned": self._nothing, "waived": self._waive, "rejected": self._reject}.get(
            state, self._approve
        )()
        if state in ("champion", "previous", "rolled-back"):
            promote(registry.promoter, self.name)
        if state in ("previous", "rolled-back"):
            register(registry.trainer, self._request("b", 0.4))
            sign_off(registry.bo, self.name, "2", "approved", "better")
            promote(registry.promoter, self.name)
        if state == "rolled-back":
            self.number = "2"
            body = {"product": self.name, "reason": "misses chips"}
            assert registry.post(registry.bo, "/changeover/roll-back", body).status_code == 200
        if state == "void":
            (picture,) = registry.state.glob(f"artifacts/*/{self.first.run_id}/artifacts/good.png")
            picture.write_bytes(b"another")

    def _nothing(self) -> None:
        pass

    def _waive(self) -> None:
        sign_off(self.registry.bo, self.name, "1", "waived", "the lamp flickered")

    def _reject(self) -> None:
        sign_off(self.registry.bo, self.name, "1", "rejected", "misses chips")

    def _approve(self) -> None:
        sign_off(self.registry.bo, self.name, "1", "approved", "fine")

    def state(self) -> str:
        """As the review page and ``states`` see it."""
        now = version_of(self.registry.vic, self.name, self.number)
        facts = VersionFacts(now.product, now.version, now.tags, frozenset(now.aliases))
        void = now.qa == "approved" and not status(self.registry.vic, self.name, self.number).valid
        events = self.registry.vic.call("GET", "/changeover/events", params={"product": self.name})["events"]
        backs = [event["seq"] for event in events if event["action"] == "roll-back" and event["before"] == self.number]
        signed = [event["seq"] for event in events if event["subject"] == "qa" and event["after"] == "approved"
                  and event["version"] == self.number and event["allowed"]]  # fmt: skip
        return way_on(facts, rolled_back=bool(backs and max(backs) > max(signed, default=0)), void=void).state

    def do(self, deed: str) -> None:
        if deed == "promote":
            promote(self.registry.promoter, self.name, self.number)
        else:
            sign_off(self.registry.ana, self.name, self.number, deed, "as ana sees it")


@pytest.mark.servers
@pytest.mark.parametrize("state", STATES)
def test_every_deed_in_every_state(registry: Registry, tmp_path: Path, state: str) -> None:
    for allowed in LEADS[state] or {"": ""}:
        product = Product(registry, tmp_path, state)
        assert product.state() == state
        for deed in DEEDS:
            if deed not in LEADS[state]:
                with pytest.raises(RegistryError, match=r"\w+ .*\w+"):
                    product.do(deed)
                assert product.state() == state, f"{deed} was refused and changes nothing"
        if allowed:
            product.do(allowed)
            after = LEADS[state][allowed]
            assert product.state() == after
            if allowed == "approved":
                assert version_of(registry.vic, product.name, product.number).aliases == ("candidate",), "promote finds it"
                assert promote(registry.promoter, product.name).version == product.number


@pytest.mark.parametrize("state", STATES)
def test_every_state_has_a_way_on(state: str) -> None:
    from typer.testing import CliRunner

    from flows.cli import app

    facts: Callable[..., VersionFacts] = lambda tags, *aliases: VersionFacts("bolt", "3", tags, frozenset(aliases))  # noqa: E731
    passed, failed = {"changeover.gates": "passed"}, {"changeover.gates": "failed"}
    waived = failed | {"qa.waiver": "x", "qa.waiver.by": "bo"}
    made = {
        "unsigned": way_on(facts(passed)),
        "failed": way_on(facts(failed)),
        "waived": way_on(facts(waived)),
        "approved": way_on(facts(passed | {"qa": "approved"})),
        "champion": way_on(facts(passed | {"qa": "approved"}, "champion")),
        "previous": way_on(facts(passed | {"qa": "approved"}, "previous")),
        "rolled-back": way_on(facts(passed | {"qa": "approved"}), rolled_back=True),
        "void": way_on(facts(passed | {"qa": "approved"}, "champion"), void=True),
        "rejected": way_on(facts(passed | {"qa": "rejected"})),
    }[state]
    assert made.state == state and made.text.endswith(".")
    assert made.button or state == "rejected"
    verb, *options = [
        word for word in made.command.removeprefix("changeover ").split() if word.startswith("--") or word.islower()
    ]
    helped = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "200"})
    assert helped.exit_code == 0
    assert all(option in helped.output for option in options if option.startswith("--")), made.command
    assert f"| {state.replace('-', ' ')} |" in (Path(__file__).parents[2] / "docs" / "qa.md").read_text()
