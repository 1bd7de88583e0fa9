"""What a person sees: Rich where there is a terminal, plain lines that a program can read where there is none."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager


def say(line: str) -> None:
    """A line about what is going on, on stderr: stdout carries results only."""
    print(line, file=sys.stderr, flush=True)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout: drawn for a terminal, tab-separated with a header line elsewhere."""
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            print("\t".join(" ".join(cell.split()) for cell in row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_coloured(cell) for cell in row))
    Console().print(table)


def _coloured(cell: str):  # type: ignore[no-untyped-def]  # rich is imported where it is used
    from rich.text import Text

    first = cell.partition(" ")[0].rstrip(",:")
    colour = {"ok": "green", "pass": "green", "up": "green", "champion": "green", "approved": "green"} | {
        "reject": "red",
        "error": "red",
        "down": "red",
        "rejected": "red",
        "missing": "red",
        "warning": "yellow",
        "pending": "yellow",
    }
    return Text(cell, style=colour.get(first, ""))


@contextmanager
def waiting(text: str) -> Iterator[Callable[[str], None]]:
    """While something takes longer than a moment: a spinner on a terminal, a line for each news elsewhere."""
    if not sys.stderr.isatty():
        yield say
        return
    from rich.console import Console

    with Console(stderr=True).status(text) as status:
        yield status.update
