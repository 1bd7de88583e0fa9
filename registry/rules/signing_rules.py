"""Who may sign, waive and comment on a version: pure rules like those of ``registry.rules.rules``."""

from registry.names import (
    ADMIN,
    DECISIONS,
    QA,
    TAG_BY,
    TAG_DIGEST,
    TAG_GATES,
    TAG_NOTES,
    TAG_NOTES_BY,
    TAG_QA,
    TAG_REASON,
    TAG_REASON_BY,
    TAG_REPORT,
    TAG_REQUESTED_BY,
    TAG_WAIVED_BY,
    TAG_WAIVER,
    is_digest,
)
from registry.rules.facts import Person, VersionFacts


def may_decide(who: Person) -> str | None:
    """May ``who`` decide anything as quality assurance (sign, waive, comment, roll back, confirm)? Without a version in mind."""
    if not who.holds(QA):
        return f"{who} may not decide for quality assurance: only role {QA} does; ask quality assurance"
    if who.holds(ADMIN):
        return f"{who} administers the registry, and whoever does so signs nothing: use an account that has role {QA} alone"
    if who.password_by:
        return (
            f"the password of '{who.name}' was set by '{who.password_by}', who knows it: change it first, on /changeover/password"
            f" or with 'changeover users password {who.name}'"
        )
    return None


def _is_theirs(who: Person, version: VersionFacts, action: str) -> str | None:
    """Why ``version`` is the work of ``who``, who so may not ``action``."""
    if version.registered_by is None:
        return f"the audit trail does not say who registered {version}, so nobody can {action}; register the model again"
    if version.registered_by == who.name:
        return f"nobody signs what they trained, and '{who.name}' registered {version}; ask another person of role {QA}"
    if version.is_requested_by(who.name):
        requester = version.tags.get(TAG_REQUESTED_BY, "")
        return f"nobody signs what they asked for, and '{requester}' asked for {version}; ask another person of role {QA}"
    return None


def may_sign(who: Person, version: VersionFacts, value: str) -> str | None:  # noqa: PLR0911 - a list of refusals
    """May ``who`` decide ``value`` on ``version``, with the reason and the notes that it carries now?"""
    if not who.holds(QA):
        return f"{who} may not sign {version}: only role {QA} sets '{TAG_QA}'; ask a person of quality assurance"
    if problem := may_decide(who):
        return problem
    if value not in DECISIONS:
        return f"'{value}' is no decision on {version}: '{TAG_QA}' is one of {', '.join(DECISIONS)}"
    if version.decision == "rejected":
        return f"{version} was rejected by '{version.tags.get(TAG_BY, '?')}', and a rejection is final; train a new version"
    if value == version.decision:
        signer = f" by '{version.tags[TAG_BY]}'" if version.tags.get(TAG_BY) else ""
        return f"{version} is {value}{signer} already, and nothing was changed; withdraw the sign-off first to decide anew"
    if version.decision != "pending" and value != "pending":
        signer = version.tags.get(TAG_BY, "?")
        return f"{version} was {version.decision} by '{signer}', and no signature replaces another; withdraw it first"
    if value == "pending":
        return None  # whoever of quality assurance sees a fault takes the approval back, whoever trained it
    return (
        _is_theirs(who, version, "sign it")
        or _digests_problem(version)
        or (_gates_problem(version, who.name) if value == "approved" else None)
        or _words_problem(who, version, value)
    )


def _digests_problem(version: VersionFacts) -> str | None:
    for key, what in ((TAG_DIGEST, "model file"), (TAG_REPORT, "report")):
        if not is_digest(version.tags.get(key)):
            return f"{version} carries no digest of its {what}, so a sign-off would bind to nothing; register the model again"
    return None


def _words_problem(who: Person, version: VersionFacts, value: str) -> str | None:
    """A signature carries its signer's own reason and notes."""
    if not version.tags.get(TAG_REASON, "").strip():
        return f"{version} cannot be {value} without a reason: add tag '{TAG_REASON}' first, then set '{TAG_QA}'"
    if (wrote := version.tags.get(TAG_REASON_BY)) != who.name:
        return (
            f"the reason on {version} is that of '{wrote or 'somebody unknown'}', not of '{who.name}':"
            f" set '{TAG_REASON}' in your own words first"
        )
    if version.tags.get(TAG_NOTES) and (wrote := version.tags.get(TAG_NOTES_BY)) != who.name:
        return (
            f"the notes on {version} are those of '{wrote or 'somebody unknown'}': set '{TAG_NOTES}' to your own,"
            " or delete it first"
        )
    return None


def gates_problem(version: VersionFacts) -> str | None:
    """Why the gates of ``version`` stand against its approval; None where they passed, or another person than its signer waived
    them."""
    return _gates_problem(version, version.tags.get(TAG_BY, ""))


def _gates_problem(version: VersionFacts, signer: str) -> str | None:
    if version.tags.get(TAG_GATES) == "passed":
        return None
    waived_by = version.tags.get(TAG_WAIVED_BY)
    if not version.tags.get(TAG_WAIVER, "").strip() or not waived_by:
        return f"{version} failed its gates: before it is approved, another person of role {QA} sets '{TAG_WAIVER}' and says why"
    if waived_by == signer:
        return f"'{signer}' waived the gates of {version} and may not approve it as well: that takes a second person of role {QA}"
    return None


def may_waive(who: Person, version: VersionFacts, value: str | None) -> str | None:  # noqa: PLR0911 - a list of refusals
    """May ``who`` waive the gates of ``version`` with the reason ``value``, or take that back (None)?"""
    if not who.holds(QA):
        return f"{who} may not waive the gates of {version}: only role {QA} sets '{TAG_WAIVER}'; ask quality assurance"
    if problem := may_decide(who) or _is_theirs(who, version, "waive its gates") or _digests_problem(version):
        return problem
    if version.decision != "pending":
        return f"{version} is {version.decision}: a waiver comes before the decision; withdraw the sign-off first"
    if version.tags.get(TAG_GATES) == "passed":
        return f"{version} passed its gates, so there is nothing to waive; set '{TAG_QA}'"
    before = version.tags.get(TAG_WAIVED_BY)
    if before not in (None, who.name):
        return f"'{before}' waived the gates of {version}, and the waiver is theirs; ask them, or sign it"
    if value is not None and not value.strip():
        return f"the gates of {version} cannot be waived without a reason; say why in '{TAG_WAIVER}'"
    return None


def may_comment(who: Person, version: VersionFacts, key: str) -> str | None:
    """May ``who`` write the reason or the notes (``key``) of ``version``?"""
    if not who.holds(QA):
        return f"{who} may not set '{key}' of {version}: only role {QA} does; ask quality assurance"
    if version.decision != "pending":
        signer = version.tags.get(TAG_BY, "?")
        return f"'{key}' is part of what '{signer}' signed when {version} was {version.decision}; withdraw the sign-off first"
    return may_decide(who) or _is_theirs(who, version, "sign it")
