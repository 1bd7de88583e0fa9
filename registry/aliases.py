"""What a decision does to aliases and to the line at once: an approved version is the candidate; one that was withdrawn or
rejected is champion no longer, and the line is pointed at the version before, or at none."""

from pathlib import Path
from typing import Final

from mlflow.exceptions import MlflowException
from mlflow.server.handlers import _get_model_registry_store

from registry.attempts import approval_problem, holder, version_facts, versions_with_digest
from registry.errors import RegistryError
from registry.events import Entry, Trail
from registry.facts import VersionFacts
from registry.names import CANDIDATE, CHAMPION, PREVIOUS, TAG_DIGEST, TAG_GATES
from registry.rules import sign_off_problem

SERVER: Final = "(server)"


class Aliases:
    """Of one registry. ``published``: the folder that the line reads, None where there is none; ``key``: the publisher's."""

    def __init__(self, trail: Trail, published: Path | None, key: Path) -> None:
        self._trail, self._published, self._key = trail, published, key

    def follow(self, product: str, version: str, decision: str, actor: str, address: str) -> None:
        """After the sign-off of a version was set, or taken away (``""``, ``pending``). Each step is an event of ``actor``."""
        facts = version_facts(product, version, self._trail)
        if decision == "approved":
            if not facts.aliases & {CHAMPION, CANDIDATE}:
                self._step(facts, CANDIDATE, version, "it was approved", actor, address)
            return
        # A rejection is of the model file, under whatever name.
        others = versions_with_digest(facts.digest) if decision == "rejected" else ()
        for one in (facts, *others):
            self._demote(version_facts(one.product, one.version, self._trail), decision, actor, address)

    def _demote(self, facts: VersionFacts, decision: str, actor: str, address: str) -> None:
        """``previous`` becomes the champion if its own sign-off holds; else there is none."""
        failed = facts.tags.get(TAG_GATES) != "passed"
        if CANDIDATE in facts.aliases and (failed or decision == "rejected"):
            self._step(facts, CANDIDATE, "", decision or "withdrawn", actor, address)
        why = f"the approval of version {facts.version} was withdrawn"
        if PREVIOUS in facts.aliases:
            self._step(facts, PREVIOUS, "", why, actor, address)
        if CHAMPION not in facts.aliases:
            return
        successor = holder(facts.product, PREVIOUS)
        if successor and not self.holds(facts.product, successor):
            successor = ""
        self._step(facts, CHAMPION, successor, why, actor, address)
        if successor:
            self._step(facts, PREVIOUS, "", why, actor, address)
        self.tell_the_line(facts.product, successor, why, address)

    def _step(self, facts: VersionFacts, alias: str, target: str, why: str, actor: str, address: str) -> None:
        action = "alias.set" if target else "alias.delete"
        self.move(facts.product, alias, target, Entry(actor=actor, action=action, address=address, allowed=True, reason=why))

    def holds(self, product: str, version: str) -> bool:
        """Whether the sign-off of a version holds, by its tags, its files and the trail."""
        try:
            facts = version_facts(product, version, self._trail)
            return sign_off_problem(facts) is None and approval_problem(facts, self._trail) is None
        except (MlflowException, RegistryError):
            return False

    def move(self, product: str, alias: str, version: str, entry: Entry) -> None:
        """Records ``entry``, completed, and moves ``alias`` of ``product`` to ``version`` ("": takes it away)."""
        registry = _get_model_registry_store()
        before = holder(product, alias)
        shown = version or before
        digest = registry.get_model_version(product, shown).tags.get(TAG_DIGEST, "") if shown else ""
        more = {"product": product, "version": shown, "digest": digest, "subject": alias, "before": before, "after": version}
        self._trail.append(entry.model_copy(update=more))
        if version:
            registry.set_registered_model_alias(product, alias, version)
        elif before:
            registry.delete_registered_model_alias(product, alias)

    def tell_the_line(self, product: str, champion: str, why: str, address: str) -> None:
        """Points what is published at the version ``champion``, or takes the pointer away ("", and where that cannot be shown
        whole): in the same step, whether or not 'changeover serve' runs. What was done is an event of the server."""
        from registry.publish import take_off_line

        if self._published is None or not (self._published / product).exists():
            return
        digest = _get_model_registry_store().get_model_version(product, champion).tags.get(TAG_DIGEST, "") if champion else ""
        problem = ""
        try:
            done = take_off_line(product, self._published, (champion, digest) if champion else None, self._key)
        except RegistryError as error:  # the decision stands all the same
            done, problem = "retracted", f"{error}"
        if done == "nothing":
            return
        pointed = done == "pointed"
        self._trail.append(
            Entry(
                actor=SERVER, action="publish" if pointed else "retract", product=product, version=champion if pointed else "",
                digest=digest if pointed else "", subject=str(self._published / product), address=address,
                allowed=not problem, reason=problem or why,
            )
        )  # fmt: skip
