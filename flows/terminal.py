"""What a person sees: Rich where there is a terminal, plain lines that a program can read where there is none.

Everything that is printed goes through here, because names, reasons, addresses and errors hold what somebody else chose.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from registry.printable import printable

PLAIN_EVERY = 10.0
"""Seconds between two plain lines about the same piece of work."""


def write_anything() -> None:
    """Let stdout and stderr write letters that the terminal's encoding lacks as escapes, instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        _lenient(stream)


def _lenient(stream: TextIO) -> None:
    if getattr(stream, "errors", "backslashreplace") != "backslashreplace" and hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")


def _fitting(text: str, stream: TextIO) -> str:
    """``text`` made printable, in letters that ``stream`` can write."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return printable(text).encode(encoding, "backslashreplace").decode(encoding)


def log(line: str) -> None:
    """A line about what is going on, on stderr: stdout carries results only."""
    print(_fitting(line, sys.stderr), file=sys.stderr, flush=True)


def show_cursor() -> None:
    """Gives the terminal its cursor back, which a bar hides, before the process ends without the bar's own end."""
    if sys.stderr.isatty():
        from rich.console import Console

        Console(stderr=True).show_cursor()


def answer(line: str = "") -> None:
    """A line of a result, on stdout."""
    print(_fitting(line, sys.stdout))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout: drawn for a terminal, tab-separated with a header line elsewhere."""
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            print("\t".join(_one_line(cell) for cell in row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    _lenient(sys.stdout)  # for what Rich draws
    table = Table(title=Text(_fitting(title, sys.stdout)), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(_plain(column, sys.stdout), overflow="fold")
    for row in rows:
        table.add_row(*(_coloured(_one_line(cell)) for cell in row))
    Console().print(table)


def _one_line(cell: str) -> str:
    return _fitting(" ".join(cell.split()), sys.stdout)


def _plain(text: str, stream: TextIO | None = None) -> str:
    """``text`` where Rich looks for its markup in square brackets, for ``stream`` or stderr."""
    from rich.markup import escape

    return escape(_fitting(text, stream or sys.stderr))


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
        yield log
        return
    from rich.console import Console

    _lenient(sys.stderr)
    with Console(stderr=True).status(_plain(text)) as status:
        yield lambda news: status.update(_plain(news))


@contextmanager
def reporting(what: str) -> Iterator[Callable[[str, float | None], None]]:
    """A bar with the time left for one long piece of work in several parts; plain lines, one every ten seconds, elsewhere.

    Gives a function to be called with the part and the share of it that is done (0..1, or None where that is not known).
    """
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        _lenient(sys.stderr)
        columns = (SpinnerColumn(), TextColumn("[bold]{task.fields[what]}"), BarColumn(bar_width=28), TimeElapsedColumn())
        with Progress(*columns, TimeRemainingColumn(), TextColumn("{task.description}"), console=Console(stderr=True)) as bar:
            title = _plain(what)
            task, before = bar.add_task("", total=None, what=title), ""

            def show(part: str, share: float | None) -> None:
                nonlocal before
                stage = part.partition(":")[0]
                if stage != before:
                    before = stage
                    bar.reset(task, total=None if share is None else 1.0, what=title)
                bar.update(task, description=_plain(part[:60]), total=None if share is None else 1.0, completed=share or 0.0)

            yield show
        return
    last, part_before = 0.0, ""

    def line(part: str, share: float | None) -> None:
        nonlocal last, part_before
        stage = part.partition(":")[0]
        if stage != part_before or time.monotonic() - last >= PLAIN_EVERY:
            last, part_before = time.monotonic(), stage
            log(f"{what}: {part}" + ("" if share is None else f", {share:.0%}"))

    yield line
