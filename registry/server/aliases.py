"""What a decision does to aliases and to the line at once: an approved version is the candidate; one that was withdrawn or
rejected is champion no longer, and the line is pointed at the version before, or at none."""

from pathlib import Path
from typing import Final

from mlflow.exceptions import MlflowException
from mlflow.server.handlers import _get_model_registry_store

from registry.errors import NotFound, RegistryError
from registry.line import folder_name, read_pointer
from registry.names import CANDIDATE, CHAMPION, PREVIOUS, TAG_DIGEST, TAG_GATES
from registry.rules.facts import VersionFacts
from registry.rules.rules import sign_off_problem
from registry.server.attempts import approval_problem, holder, version_facts, versions_with_digest
from registry.signature import Publisher
from registry.trail.events import Entry, Event, Trail
from registry.trail.transaction import Transactions

SERVER: Final = "(server)"


class Aliases:
    """Of one registry. ``published``: the folder that the line reads, None where there is none; ``key``: the publisher's."""

    def __init__(self, trail: Trail, transactions: Transactions, published: Path | None, key: Path) -> None:
        self._trail, self._transactions, self._published, self._key = trail, transactions, published, key

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
        self.point_line(facts.product, successor, why, address)

    def _step(self, facts: VersionFacts, alias: str, target: str, why: str, actor: str, address: str) -> None:
        action = "alias.set" if target else "alias.delete"
        self.move(facts.product, alias, target, Entry(actor=actor, action=action, address=address, allowed=True, reason=why))

    def holds(self, product: str, version: str, *, remembered: bool = False) -> bool:
        """Whether the sign-off of a version holds, by its tags, its files and the trail."""
        return self.problem(product, version, remembered=remembered) is None

    def problem(self, product: str, version: str, *, remembered: bool = False) -> str | None:
        """Why the sign-off of a version does not hold; None where it does. ``remembered``: files that look as they did when they
        were read last are not read again."""
        try:
            facts = version_facts(product, version, self._trail)
            return sign_off_problem(facts) or approval_problem(facts, self._trail, remembered=remembered)
        except (MlflowException, RegistryError) as error:
            return str(error)

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

    def point_line(self, product: str, champion: str, why: str, address: str) -> None:
        """Points what is published at the version ``champion``, or takes the pointer away ("", and where that cannot be shown
        whole): as soon as the transaction is committed, with or without 'changeover serve'. What was done is an event of the
        server."""
        if self._published is not None and (self._published / product).exists():
            self._transactions.afterwards(lambda: self._point_line(product, champion, why, address))

    def _point_line(self, product: str, champion: str, why: str, address: str) -> None:
        from registry.client.publish import take_off_line

        if self._published is None:
            return
        digest = _get_model_registry_store().get_model_version(product, champion).tags.get(TAG_DIGEST, "") if champion else ""
        problem = ""
        try:
            done = take_off_line(product, self._published, (champion, digest) if champion else None, self._key)
        except RegistryError as error:  # the decision stands all the same
            done, problem = "retracted", f"{error}"
        if done != "nothing":
            self._on_the_line(product, champion if done == "pointed" else "", digest, why, address, problem)

    def _on_the_line(self, product: str, version: str, digest: str, why: str, address: str, problem: str = "") -> Event:
        """The event of what the line reads now: ``version``, or nothing."""
        place = Path(self._published or "", product, folder_name(version, digest) if version else "")
        return self._trail.append(
            Entry(
                actor=SERVER, action="publish" if version else "retract", product=product, version=version,
                digest=digest if version else "", subject=str(place), address=address,
                allowed=not problem, reason=problem or why,
            )
        )  # fmt: skip

    def see_to_the_line(self, product: str) -> Event | None:
        """Finishes what a process left open that died between a transaction and what follows from it: a pointer at a version that
        is not the champion, or one without its event. The event of it; None where all is well."""
        found = self._pointer(product)
        if found is None:
            return None
        champion = holder(product, CHAMPION)
        # Whoever promotes publishes after it: until then the line keeps what it has, if that is good.
        is_due = bool(champion) and bool(found) and self.holds(product, found, remembered=True)
        if found and found != champion and not is_due:
            why = f"the line was still pointed at version {found}, which is not the champion and not validly signed"
            self._point_line(product, champion if champion and self.holds(product, champion) else "", why, "")
            return self._last_published(product)
        last = self._last_published(product)
        published = "" if last is None or last.action == "retract" else last.version
        if published == found:
            return None
        digest = _get_model_registry_store().get_model_version(product, found).tags.get(TAG_DIGEST, "") if found else ""
        return self._on_the_line(product, found, digest, "found done: who did it was cut off before writing it down", "")

    def _last_published(self, product: str) -> Event | None:
        found = self._trail.find(actions=("publish", "retract"), product=product, allowed=True, newest_first=True, at_most=1)
        return found[0] if found else None

    def _pointer(self, product: str) -> str | None:
        """The version that the line is pointed at, "" where it is at none; None where there is no line, or what lies there is not
        ours to judge: who publishes next, and 'changeover doctor', say so."""
        if self._published is None or not (self._published / product).is_dir() or not self._key.is_file():
            return None
        try:
            return read_pointer(self._published, product, Publisher.of(self._key).public)["version"]
        except NotFound:
            return ""
        except (RegistryError, OSError, ValueError):
            return None
