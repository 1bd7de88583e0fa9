"""``groups.csv``: which images show the same physical part, as the source's owner says."""

import csv
import io
from pathlib import Path

from data.batch import Rejection
from data.errors import BadBatch

GROUPS_FILE = "groups.csv"
MAX_BYTES = 16 * 2**20
MAX_LENGTH = 200


def read_groups(source: Path, names: set[str]) -> tuple[dict[str, str], list[Rejection]]:
    """Image's source name → part, from ``source/groups.csv`` with columns ``file,group``; empty if there is no such file.

    ``names`` are the files of the source, with ``/`` between folders. Lines for files that are not there are returned as
    rejections, images without a line have no part. BadBatch if the table cannot be trusted as a whole.
    """
    path = source / GROUPS_FILE
    if not path.exists() and not path.is_symlink():
        return {}, []
    groups: dict[str, str] = {}
    unmatched: list[Rejection] = []
    for number, name, group in _lines(path):
        if name not in names:
            unmatched.append(
                Rejection(source_name=GROUPS_FILE, reason=f"line {number} names {name[:80]!r}, which is not in the folder")
            )
            continue
        if not group:
            continue
        if len(group) > MAX_LENGTH or not group.isprintable():
            raise BadBatch(
                f"{GROUPS_FILE}, line {number}: group {group[:40]!r}… is over {MAX_LENGTH} characters or unprintable; shorten it"
            )
        if groups.setdefault(name, group) != group:
            raise BadBatch(
                f"{GROUPS_FILE}, line {number}: {name[:80]!r} is in group {group!r} and in {groups[name]!r}; "
                "a file shows one part: keep one line"
            )
    return groups, unmatched


def _lines(path: Path) -> list[tuple[int, str, str]]:
    """(line number, file, group) of every line with content; BadBatch if it is not a small UTF-8 table of those columns."""
    if path.is_symlink() or not path.is_file():
        raise BadBatch(f"{GROUPS_FILE} is not a regular file; put the table itself there, or remove it")
    if path.stat().st_size > MAX_BYTES:
        raise BadBatch(
            f"{GROUPS_FILE} has {path.stat().st_size / 2**20:.0f} MiB; at most {MAX_BYTES >> 20}: keep the columns file and group"
        )
    try:
        reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""), strict=True)
        columns = reader.fieldnames or []
        if not {"file", "group"} <= set(columns):
            raise BadBatch(
                f"{GROUPS_FILE} has columns {', '.join(map(repr, columns))[:120]}; it needs file,group: name them so in line 1"
            )
        lines = [(reader.line_num, (line["file"] or "").strip(), (line["group"] or "").strip()) for line in reader]
    except UnicodeDecodeError as error:
        raise BadBatch(f"{GROUPS_FILE} is not UTF-8 (byte {error.start}); save it as 'CSV UTF-8'") from error
    except OSError as error:
        raise BadBatch(f"{GROUPS_FILE} cannot be read ({error.strerror}); grant read permission or remove it") from error
    except csv.Error as error:
        raise BadBatch(f"{GROUPS_FILE} is not a well-formed table ({error}); save it as comma-separated values") from error
    return [line for line in lines if line[1]]
