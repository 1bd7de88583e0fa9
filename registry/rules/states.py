"""The states of a version, and the way on from each: what the review page, ``changeover status`` and the guide for QA say.

| state | is | way on |
|---|---|---|
| unsigned | pending, gates passed | approve or reject |
| failed | pending, gates failed | one person waives the gates, or train again |
| waived | pending, gates failed and waived | another person approves, or reject |
| approved | approved, candidate or without an alias | it is promoted |
| champion | approved, what the line uses | withdraw, or roll back |
| previous | approved, the champion before | roll back to it |
| rolled-back | approved, and rolled back from since | withdraw, and decide anew |
| void | approved, and the approval does not hold | withdraw and decide anew, or train again |
| rejected | rejected | train again |
"""

from dataclasses import dataclass
from typing import Final

from registry.names import CHAMPION, PREVIOUS, TAG_GATES, TAG_WAIVED_BY, TAG_WAIVER
from registry.rules.facts import VersionFacts

STATES: Final = ("unsigned", "failed", "waived", "approved", "champion", "previous", "rolled-back", "void", "rejected")


@dataclass(frozen=True)
class Way:
    """The way on from a state: in words, as a command, and as the review page's button ("" where there is none)."""

    state: str
    text: str
    command: str
    button: str


def state_of(facts: VersionFacts, *, rolled_back: bool, void: bool) -> str:
    """One of ``STATES``. ``rolled_back``: since it was approved; ``void``: its approval does not hold."""
    if facts.decision == "rejected":
        return "rejected"
    if facts.decision != "approved":
        if facts.tags.get(TAG_GATES) == "passed":
            return "unsigned"
        return "waived" if facts.tags.get(TAG_WAIVER, "").strip() and facts.tags.get(TAG_WAIVED_BY) else "failed"
    if rolled_back:
        return "rolled-back"
    if void:
        return "void"
    return "champion" if CHAMPION in facts.aliases else "previous" if PREVIOUS in facts.aliases else "approved"


def way_on(facts: VersionFacts, *, rolled_back: bool = False, void: bool = False) -> Way:
    """What can be done with a version as it stands."""
    state = state_of(facts, rolled_back=rolled_back, void=void)
    sign = f"changeover sign-off --product {facts.product} --version {facts.version}"
    end = "--reason TEXT --user NAME"
    again = f"changeover run --product {facts.product} --batch NAME --images FOLDER"
    ways = {
        "unsigned": ("It waits for a signature.", f"{sign} --approve {end}", "approve"),
        "failed": (
            "Its gates failed: one person of quality assurance may waive them, another may approve it then.",
            f"{sign} --waive {end}",
            "waive",
        ),
        "waived": ("Its gates were waived: another person of quality assurance decides.", f"{sign} --approve {end}", "approve"),
        "approved": (
            "It is approved and becomes the champion within a minute while 'changeover serve' runs, or with this command.",
            f"changeover promote --product {facts.product} --version {facts.version}",
            "withdraw",
        ),
        "champion": (
            "The line uses it. Taking the approval back takes it off the line at once.",
            f"{sign} --withdraw {end}",
            "withdraw",
        ),
        "previous": (
            "It was the champion before; a roll-back makes it the champion again.",
            f"changeover roll-back --product {facts.product} {end}",
            "withdraw",
        ),
        "rolled-back": (
            "It was rolled back from. Before it is promoted again, its approval is withdrawn and decided anew.",
            f"{sign} --withdraw {end}",
            "withdraw",
        ),
        "void": (
            "Its approval does not hold. Withdraw it and decide anew; where files were exchanged, train again.",
            f"{sign} --withdraw {end}",
            "withdraw",
        ),
        "rejected": ("It was rejected, which is final. Train a new version.", again, ""),
    }
    return Way(state, *ways[state])
