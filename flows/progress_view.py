"""The progress of a run on the terminal: a bar with the time left, or plain lines where there is no terminal."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from data.batch import BatchFolder
from data.progress import ProgressState, read_progress
from flows.serving.run_record import STEPS, RunState, our_run
from flows.terminal import PLAIN_EVERY, log
from registry.printable import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from flows.plant import Plant


@contextmanager
def shown(plant: "Plant", folder: BatchFolder) -> Iterator[None]:
    """Show the run that this process makes of ``folder`` while the block runs, on stderr."""
    stop = threading.Event()
    show = _show_bars if sys.stderr.isatty() else _show_lines
    thread = threading.Thread(target=show, args=(plant, folder, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=2.0)


def time_text(seconds: float) -> str:
    """``45 s``, ``3:05 min`` or ``1:02 h``."""
    whole = round(seconds)  # first, or 299.7 would be "4:60"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02} h"


def now_text(state: RunState, progress: ProgressState | None) -> str:
    """The running step in words: ``train 43 %, 40 s left, epoch 12``."""
    words = [state.step]
    if progress and progress.total > 0:
        words[0] += f" {100 * min(progress.done / progress.total, 1):.0f} %"
        if progress.seconds_left is not None:
            words.append(f"{time_text(progress.seconds_left)} left")
        if progress.message:
            words.append(progress.message)
    elif state.step and not state.note:
        words.append(f"{time_text(max(time.time() - state.step_began, 0))} so far")
    if state.note:
        words.append(state.note)
    return ", ".join(words)


def current_progress(folder: BatchFolder, state: RunState) -> ProgressState | None:
    """What the running stage tells about itself; None for what an earlier stage or run left behind."""
    file = folder.work / "progress.json"
    try:
        fresh = file.stat().st_mtime >= state.step_began - 0.5
    except OSError:
        return None
    progress = read_progress(folder.path) if fresh else None
    return progress if progress and progress.stage == state.step else None


def _ours(plant: "Plant", folder: BatchFolder) -> RunState | None:
    state = our_run()
    return state if state and plant.batch(state.product, state.batch) == folder else None


def _show_lines(plant: "Plant", folder: BatchFolder, stop: threading.Event) -> None:
    shown, last, note = 0, time.monotonic(), ""
    step = ""
    while True:
        ended = stop.wait(0.3)
        state = _ours(plant, folder)
        if state:
            for name, seconds, words in state.done[shown:]:
                log(f"{name}: {words} ({time_text(seconds)})")
            shown = len(state.done)
            if state.step != step:
                step, last = state.step, time.monotonic()
            if state.note and state.note != note:
                log(f"{state.step}: {state.note}")
            note = state.note
            if step and time.monotonic() - last >= PLAIN_EVERY:
                last = time.monotonic()
                log(now_text(state, current_progress(folder, state)))
        if ended:
            return


def _show_bars(plant: "Plant", folder: BatchFolder, stop: threading.Event) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.markup import escape

    console = Console(stderr=True)
    with Live(console=console, refresh_per_second=5, transient=True) as live:
        shown = 0
        while True:
            ended = stop.wait(0.2)
            state = _ours(plant, folder)
            if state:
                for name, seconds, words in state.done[shown:]:
                    shown_words = escape(printable(words))
                    console.print(f"[green]✓[/] {name:<11}[dim]{time_text(seconds):>9}[/]  {shown_words}", highlight=False)
                shown = len(state.done)
                live.update(_bar(state, current_progress(folder, state)))
            if ended:
                return


def _bar(state: RunState, progress: ProgressState | None) -> "RenderableType":
    from rich.progress_bar import ProgressBar
    from rich.spinner import Spinner
    from rich.table import Table
    from rich.text import Text

    row = Table.grid(padding=(0, 1))
    if not state.step:
        return row
    spent = time_text(max(time.time() - state.step_began, 0))
    place = f"step {STEPS.index(state.step) + 1} of {len(STEPS)}" if state.step in STEPS else ""
    cells: list[RenderableType] = [Spinner("dots"), Text(f"{state.step:<11}", style="bold")]
    if progress and progress.total > 0:
        cells.append(ProgressBar(total=progress.total, completed=min(progress.done, progress.total), width=28))
        if progress.seconds_left is not None:
            cells.append(Text(f"{time_text(progress.seconds_left)} left", style="cyan"))
        cells.append(Text(printable(progress.message), style="dim"))
    else:
        cells.append(Text(spent, style="dim"))
    cells.append(Text(printable(state.note or place), style="dim"))
    row.add_row(*cells)
    return row
