"""How a teacher is named in settings and on the command line: by its name, or by name and version."""

import re
from dataclasses import dataclass

from core.errors import BadName

NO_TEACHER = "none"
"""What settings say where changeovers go without a teacher; no teacher may be called that."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,50}", re.ASCII)
_VERSION = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)


@dataclass(frozen=True)
class NamedTeacher:
    """``version`` "1", "2", …, or None for the newest."""

    name: str
    version: str | None

    @classmethod
    def parse(cls, text: str) -> "NamedTeacher":
        """``plant`` or ``plant@3``; BadName for anything else."""
        name, at, version = text.partition("@")
        check_teacher_name(name)
        if at and not _VERSION.fullmatch(version):
            raise BadName(f"teacher {text[:80]!r}: {version[:20]!r} is not a version; write {name}@1, or {name} for the newest")
        return cls(name, version or None)


def check_teacher_name(name: str) -> str:
    """``name`` if it may name a teacher; BadName otherwise. It is also a folder and part of a registered model's name."""
    if not _NAME.fullmatch(name) or ".." in name or name.endswith((".", ".lock")) or name == NO_TEACHER:
        suggestion = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_")[:51]
        suggestion = suggestion if suggestion not in ("", NO_TEACHER) else "plant"
        raise BadName(
            f"teacher name {name[:80]!r} is not of the form [a-z0-9][a-z0-9._-]* with at most 51 characters, or is "
            f"{NO_TEACHER!r}; try {suggestion!r}"
        )
    return name
