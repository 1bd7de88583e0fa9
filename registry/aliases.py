"""What a decision does to aliases at once: a withdrawn version is champion no longer, one whose gates were waived is a
candidate."""

from mlflow.server.handlers import _get_model_registry_store

from registry.attempts import Attempt, holder, trail_problem, version_facts
from registry.events import Entry, Trail
from registry.names import CANDIDATE, CHAMPION, PREVIOUS, TAG_DIGEST, TAG_GATES
from registry.rules import sign_off_problem


def follow(attempt: Attempt, trail: Trail, actor: str, address: str) -> None:
    """After the sign-off in ``attempt`` was set or taken away. Each step is an event of ``actor``."""
    if attempt.after != "approved":
        _demote(attempt, trail, actor, address)
        return
    facts, now = version_facts(attempt.product, attempt.version, trail), holder(attempt.product, CANDIDATE)
    # A newer candidate goes first. Without an alias of its own a version that was rolled back would be promoted again.
    if facts.tags.get(TAG_GATES) != "passed" and CHAMPION not in facts.aliases and int(now or 0) < int(attempt.version):
        why = "its gates were waived and it was approved"
        step = Entry(actor=actor, action="alias.set", address=address, allowed=True, reason=why)
        move(trail, attempt.product, CANDIDATE, attempt.version, step)


def _demote(attempt: Attempt, trail: Trail, actor: str, address: str) -> None:
    """``previous`` becomes the champion if its own sign-off holds; else there is none. A candidate that was rejected is one no
    longer, nor is one whose gates failed and whose approval is gone."""
    product, version = attempt.product, attempt.version
    failed = version_facts(product, version, trail).tags.get(TAG_GATES) != "passed"
    if (failed or attempt.after == "rejected") and holder(product, CANDIDATE) == version:
        move(
            trail,
            product,
            CANDIDATE,
            "",
            Entry(actor=actor, action="alias.delete", address=address, allowed=True, reason=attempt.after or "withdrawn"),
        )
    if holder(product, CHAMPION) != version:
        return
    why = f"the approval of version {version} was withdrawn"
    successor = holder(product, PREVIOUS)
    if successor and not holds(product, successor, trail):
        successor = ""
    action = "alias.set" if successor else "alias.delete"
    move(trail, product, CHAMPION, successor, Entry(actor=actor, action=action, address=address, allowed=True, reason=why))
    if successor:
        gone = Entry(actor=actor, action="alias.delete", address=address, allowed=True, reason=why)
        move(trail, product, PREVIOUS, "", gone)


def holds(product: str, version: str, trail: Trail) -> bool:
    """Whether the sign-off of a version holds, by its tags and by the trail."""
    facts = version_facts(product, version, trail)
    return sign_off_problem(facts) is None and trail_problem(facts, trail) is None


def move(trail: Trail, product: str, alias: str, version: str, entry: Entry) -> None:
    """Records ``entry``, completed, and moves ``alias`` of ``product`` to ``version`` ("": takes it away)."""
    registry = _get_model_registry_store()
    before = holder(product, alias)
    shown = version or before
    digest = registry.get_model_version(product, shown).tags.get(TAG_DIGEST, "") if shown else ""
    more = {"product": product, "version": shown, "digest": digest, "subject": alias, "before": before, "after": version}
    trail.append(entry.model_copy(update=more))
    if version:
        registry.set_registered_model_alias(product, alias, version)
    elif before:
        registry.delete_registered_model_alias(product, alias)
