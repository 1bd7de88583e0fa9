"""A small table that somebody wrote with a spreadsheet: separated by commas, semicolons or tabs, in UTF-8 or UTF-16."""

import codecs
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import BadBatch

MAX_BYTES = 16 * 2**20
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True)
class Table:
    """``lines``: (line number, column → cell without spaces around it). Column names are in lower case."""

    name: str
    separator: str
    lines: tuple[tuple[int, dict[str, str]], ...]

    def __str__(self) -> str:
        """For messages: ``groups.csv (separated by semicolons)``."""
        return f"{self.name} (separated by {SEPARATORS.get(self.separator, repr(self.separator))})"


def read_table(path: Path, needed: Sequence[str]) -> Table:
    """The table at ``path``, whose first line names the columns, ``needed`` ones among them; lines without content are left out.

    BadBatch if it is not a small, well-formed table of those columns.
    """
    if path.is_symlink() or not path.is_file():
        raise BadBatch(f"{path.name} is not a regular file; put the table itself there, or remove it")
    if path.stat().st_size > MAX_BYTES:
        raise BadBatch(
            f"{path.name} has {path.stat().st_size / 2**20:.0f} MiB; at most {MAX_BYTES >> 20}: keep the columns "
            f"{' and '.join(needed)}"
        )
    try:
        text, before, separator = _opened(_text(path.read_bytes()), needed)
        reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
        columns = [column.strip().lower() for column in next(reader, [])]
        if any(columns.count(column) != 1 for column in needed):
            raise BadBatch(
                f"{path.name} has columns {', '.join(map(repr, columns))[:120]}; it needs {','.join(needed)}, separated by "
                "commas, semicolons or tabs: name them so in line 1, in UTF-8"
            )
        lines = []
        for line in reader:
            cells = [cell.strip() for cell in line]
            if any(cells[len(columns) :]):  # a name with a comma, say, that is not quoted
                raise BadBatch(
                    f"{path.name}, line {reader.line_num + before}, has {len(cells)} cells, but line 1 has {len(columns)}; "
                    "put names that contain the separator into double quotes"
                )
            if any(cells):
                row = dict(zip(columns, [*cells, *[""] * (len(columns) - len(cells))], strict=False))
                lines.append((reader.line_num + before, row))
    except UnicodeDecodeError as error:
        raise BadBatch(f"{path.name} is not UTF-8 (byte {error.start}); save it as 'CSV UTF-8'") from error
    except OSError as error:
        raise BadBatch(f"{path.name} cannot be read ({error.strerror}); grant read permission or remove it") from error
    except csv.Error as error:
        raise BadBatch(f"{path.name} is not a well-formed table ({error}); save it as comma-separated values") from error
    return Table(path.name, separator, tuple(lines))


def _text(content: bytes) -> str:
    """UTF-8, or the UTF-16 with a mark that spreadsheets call Unicode text."""
    sixteen = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if sixteen else "utf-8-sig")


def _opened(text: str, needed: Sequence[str]) -> tuple[str, int, str]:
    """The table, the number of lines before it (empty ones, a spreadsheet's ``sep=;``), and its separator."""
    empty = len(text) - len(text.lstrip("\r\n"))
    before, text = text[:empty].count("\n"), text[empty:]
    first, _, rest = text.partition("\n")
    if (line := first.strip("\r").strip('"')).lower().startswith("sep=") and len(line) == len("sep=") + 1:
        return rest, before + 1, line[-1]
    for separator in SEPARATORS:
        if set(needed) <= {column.strip().strip('"').strip().lower() for column in first.split(separator)}:
            return text, before, separator
    return text, before, ","
