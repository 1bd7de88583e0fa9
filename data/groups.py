"""``groups.csv``: which images show the same physical part, as the source's owner says.

Tables come out of spreadsheets: separated by commas, semicolons or tabs, with names in another case, without their ending, or
with the folders of the machine that wrote them. A name is taken where only one file can be meant. A table of which nothing fits
is refused: going on without parts would measure the threshold on parts that the weights have seen.
"""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from unicodedata import normalize

from core.errors import BadBatch
from data.batch import Rejection
from data.source_names import SourceNames
from data.table import read_table

GROUPS_FILE = "groups.csv"
MAX_LENGTH = 200
_READ = re.compile(r"groups\.csv(\.(csv|txt))?")
"""Names that are read, in lower case. Systems that hide endings make ``groups.csv.txt``."""
_MEANT = re.compile(r"groups?([ _-]?(\(\d+\)|copy|kopie))?\.(csv|txt|tsv|tab|xlsx?|xlsm|ods|numbers|json)(\.(csv|txt))?")
"""Names that are meant to be a table of groups, and would otherwise pass for a stray file."""


def read_groups(source: Path, names: set[str]) -> tuple[dict[str, str], list[Rejection]]:
    """Image's source name → part, from the table in ``source`` with columns ``file,group``; empty if there is no table.

    ``names`` are the files of the source, with ``/`` between folders. Lines for files that are not there are returned as
    rejections, images without a line have no part. BadBatch if the table cannot be trusted as a whole, if none of its lines fits
    a file, or if it names no part.
    """
    path = groups_table(source)
    if path is None:
        _refuse_below(names)
        return {}, []
    table = read_table(path, ("file", "group"))
    lines = [(number, row["file"], normalize("NFC", row["group"])) for number, row in table.lines if row["file"]]
    files = SourceNames(name for name in names if not _MEANT.fullmatch(PurePosixPath(name).name.lower()))
    prefix = _prefix(str(table), [written for _, written, _ in lines], files)
    groups: dict[str, str] = {}
    unmatched: list[Rejection] = []
    for number, written, group in lines:
        meant = files.meant_by(written, prefix)
        if len(meant) != 1:
            which = f"may be {meant[0]!r} or {meant[1]!r}: write the whole name" if meant else "is not in the folder"
            unmatched.append(Rejection(source_name=path.name, reason=f"line {number} names {written[:80]!r}, which {which}"))
            continue
        if not group:
            continue
        if len(group) > MAX_LENGTH or not group.isprintable():
            raise BadBatch(
                f"{path.name}, line {number}: group {group[:40]!r}… is over {MAX_LENGTH} characters or unprintable; shorten it"
            )
        if groups.setdefault(meant[0], group) != group:
            raise BadBatch(
                f"{path.name}, line {number}: {written[:80]!r} is in group {group!r} and in {groups[meant[0]]!r}; "
                "a file shows one part: keep one line"
            )
    if not lines or len(unmatched) == len(lines):
        first = f" ({unmatched[0].reason}; the folder has {min(files.names, default='no file')[:80]!r})" if lines else ""
        raise BadBatch(
            f"{table} has {len(lines)} lines, and none of them names one file of the folder{first}; write the names as they are "
            f"in the folder, or take {path.name} out of it"
        )
    if not groups:
        raise BadBatch(
            f"{table} names no part for any of its {len(lines)} files; fill the column group, or take it out of the folder"
        )
    return groups, unmatched


def groups_table(source: Path) -> Path | None:
    """The table in ``source``, in whatever case its name is written; None if there is none.

    BadBatch where there are two, or one whose name or format is not read.
    """
    try:
        entries = sorted(path.name for path in source.iterdir())
    except OSError:
        return None  # who walks the folder says so
    found = [name for name in entries if _READ.fullmatch(name.lower())]
    if len(found) > 1:
        raise BadBatch(f"{found[0]!r} and {found[1]!r} may both be the table of groups; keep one, called {GROUPS_FILE}")
    if found:
        return source / found[0]
    if meant := next((name for name in entries if _MEANT.fullmatch(name.lower())), None):
        raise BadBatch(
            f"{meant!r} is not read; save the table of groups as {GROUPS_FILE} ('CSV UTF-8', columns file and group), or take it "
            "out of the folder"
        )
    return None


def _refuse_below(names: Iterable[str]) -> None:
    below = next((name for name in sorted(names) if "/" in name and _READ.fullmatch(name.rpartition("/")[2].lower())), None)
    if below:
        raise BadBatch(
            f"{below!r} lies in a subfolder, where it is not read; put one {GROUPS_FILE} into the folder that is delivered, with "
            f"names as seen from there, such as {str(PurePosixPath(below).parent / 'part_001.png')!r}"
        )


def _prefix(table: str, written: list[str], files: SourceNames) -> str:
    """The folders that all names begin with because the table was written elsewhere, as a text to be cut off; mostly ``""``.

    BadBatch where the names of two such places fit files: one of them belongs to another delivery.
    """
    if any(files.meant_by(name) for name in written):
        return ""
    found = [files.prefixes(name) for name in written]
    counts = Counter(prefix for prefixes in found for prefix in prefixes)
    if not counts:
        return ""
    best = max(counts, key=lambda prefix: (counts[prefix], -len(prefix)))
    other = next((prefixes[0] for prefixes in found if prefixes and best not in prefixes), None)
    if other is not None:
        raise BadBatch(
            f"{table} names files in {best[:80]!r} and in {other[:80]!r}; one delivery has one table: keep the lines of this "
            "folder, with names as seen from it"
        )
    return best
