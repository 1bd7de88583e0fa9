"""What the rules judge by: who asks, and a version as it stands."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field

from registry.names import TAG_DIGEST, TAG_LIFE, TAG_QA, TAG_REQUESTED_BY


@dataclass(frozen=True)
class Person:
    """An authenticated user and the roles they hold."""

    name: str
    roles: frozenset[str]
    password_by: str = ""
    """Who else set the password that this person has not changed since; empty where nobody did."""

    def holds(self, *roles: str) -> bool:
        return not self.roles.isdisjoint(roles)

    def __str__(self) -> str:
        return f"'{self.name}' ({', '.join(sorted(self.roles)) or 'no role'})"


@dataclass(frozen=True)
class VersionFacts:
    """A version as it stands before the change."""

    product: str
    version: str
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: frozenset[str] = frozenset()
    registered_by: str | None = None
    run_id: str = ""
    source: str = ""
    """The logged model, ``models:/m-…``."""
    registered: int = 0
    """Number of the event of its registration: what was decided before it was about another model."""

    @property
    def decision(self) -> str:
        """``pending``, ``approved`` or ``rejected``."""
        return self.tags.get(TAG_QA, "pending")

    @property
    def digest(self) -> str:
        return self.tags.get(TAG_DIGEST, "")

    @property
    def life(self) -> str:
        return self.tags.get(TAG_LIFE, "")

    def is_requested_by(self, name: str) -> bool:
        """Whether the user ``name`` asked for the changeover, under that name or with an account of the operating system that is
        called so (or like what stands before an '@')."""
        kind, _, who = self.tags.get(TAG_REQUESTED_BY, "").partition(":")
        plain, own = unicodedata.normalize("NFKC", who).strip().casefold(), name.casefold()
        if kind == "os":  # an account of a domain: PLANT\\ana, ana@plant
            plain = plain.rpartition("\\")[2].partition("@")[0]
        return bool(plain) and plain in (own, own.partition("@")[0])

    def __str__(self) -> str:
        return f"version {self.version} of {self.product}"
