"""``groups.csv``: which images show the same physical part, as the source's owner says.

Tables come out of spreadsheets: separated by commas, semicolons or tabs, with names in another case, without their ending, or
with the folders of the machine that wrote them. A name is taken where only one file can be meant. A table of which nothing fits
is refused: going on without parts would measure the threshold on parts that the weights have seen.
"""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from unicodedata import normalize

from data.batch import Rejection
from data.errors import BadBatch
from data.source_names import SourceNames

GROUPS_FILE = "groups.csv"
MAX_BYTES = 16 * 2**20
MAX_LENGTH = 200
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
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
    lines, separator = _lines(path)
    told = f"{path.name} (separated by {SEPARATORS.get(separator, repr(separator))})"
    files = SourceNames(name for name in names if not _MEANT.fullmatch(PurePosixPath(name).name.lower()))
    prefix = _prefix(told, [written for _, written, _ in lines], files)
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
            f"{told} has {len(lines)} lines, and none of them names one file of the folder{first}; write the names as they are "
            f"in the folder, or take {path.name} out of it"
        )
    if not groups:
        raise BadBatch(
            f"{told} names no part for any of its {len(lines)} files; fill the column group, or take it out of the folder"
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


def _prefix(told: str, written: list[str], files: SourceNames) -> str:
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
            f"{told} names files in {best[:80]!r} and in {other[:80]!r}; one delivery has one table: keep the lines of this "
            "folder, with names as seen from it"
        )
    return best


def _lines(path: Path) -> tuple[list[tuple[int, str, str]], str]:
    """(line number, file, group) of every line with content, and the separator; BadBatch if it is not a small table of those
    columns."""
    if path.is_symlink() or not path.is_file():
        raise BadBatch(f"{path.name} is not a regular file; put the table itself there, or remove it")
    if path.stat().st_size > MAX_BYTES:
        raise BadBatch(
            f"{path.name} has {path.stat().st_size / 2**20:.0f} MiB; at most {MAX_BYTES >> 20}: keep the columns file and group"
        )
    try:
        text, skipped, separator = _opened(_text(path.read_bytes()))
        reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
        columns = [column.strip().lower() for column in next(reader, [])]
        if columns.count("file") != 1 or columns.count("group") != 1:
            raise BadBatch(
                f"{path.name} has columns {', '.join(map(repr, columns))[:120]}; it needs file,group, separated by commas, "
                "semicolons or tabs: name them so in line 1"
            )
        file, group = columns.index("file"), columns.index("group")
        lines: list[tuple[int, str, str]] = []
        for cells in reader:
            if any(cell.strip() for cell in cells[len(columns) :]):  # a name with a comma, say, that is not quoted
                raise BadBatch(
                    f"{path.name}, line {reader.line_num + skipped}, has {len(cells)} cells, but line 1 has {len(columns)}; "
                    "put names that contain the separator into double quotes"
                )
            row = [normalize("NFC", cell.strip()) for cell in cells] + [""] * len(columns)
            if row[file]:
                lines.append((reader.line_num + skipped, cells[file].strip(), row[group]))
    except UnicodeDecodeError as error:
        raise BadBatch(f"{path.name} is not UTF-8 (byte {error.start}); save it as 'CSV UTF-8'") from error
    except OSError as error:
        raise BadBatch(f"{path.name} cannot be read ({error.strerror}); grant read permission or remove it") from error
    except csv.Error as error:
        raise BadBatch(f"{path.name} is not a well-formed table ({error}); save it as comma-separated values") from error
    return lines, separator


def _text(content: bytes) -> str:
    """UTF-8, or the UTF-16 with a mark that spreadsheets call Unicode text."""
    sixteen = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if sixteen else "utf-8-sig")


def _opened(text: str) -> tuple[str, int, str]:
    """The table, the number of lines before it (a spreadsheet's ``sep=;``), and its separator."""
    first, _, rest = text.partition("\n")
    if (told := first.strip("\r").strip('"')).lower().startswith("sep=") and len(told) == len("sep=") + 1:
        return rest, 1, told[-1]
    for separator in SEPARATORS:
        columns = {column.strip().strip('"').lower() for column in first.split(separator)}
        if {"file", "group"} <= columns:
            return text, 0, separator
    return text, 0, ","
