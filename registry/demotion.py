"""A withdrawn approval takes effect at once: its version is champion no longer."""

from mlflow.server.handlers import _get_model_registry_store

from registry.attempts import Attempt, holder, trail_problem, version_facts
from registry.events import Entry, Trail
from registry.names import CANDIDATE, CHAMPION, PREVIOUS, TAG_DIGEST
from registry.rules import sign_off_problem


def demote(attempt: Attempt, trail: Trail, actor: str, address: str) -> None:
    """After the sign-off in ``attempt`` was withdrawn or refused: ``previous`` becomes the champion if its own sign-off holds;
    else there is none. A rejected candidate is one no longer. Each step is an event of ``actor``."""
    product, version = attempt.product, attempt.version
    if attempt.after == "rejected" and holder(product, CANDIDATE) == version:
        move(
            trail,
            product,
            CANDIDATE,
            "",
            Entry(actor=actor, action="alias.delete", address=address, allowed=True, reason="rejected"),
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
