"""The lineage as one picture: boxes in four columns from the images to the line, and arrows between them."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from flows.records.lineage import Box, Lineage
from registry.printable import printable

COLUMNS = (
    ("Data", ("images", "validation", "defects", "teacher")),
    ("Making", ("study", "training", "machine")),
    ("Result", ("model", "gates")),
    ("Release", ("version", "sign-off", "aliases", "published")),
)
WIDTH, GUTTER, GAP, MARGIN, TOP = 350, 56, 34, 24, 96
TITLE, LINE, PAD = 30, 17, 12
NAME_LETTERS, NAME_WIDE, VALUE_WIDE = 22, 6.8, 6.7
"""Most letters of a fact's name; pixels that a letter of a name and of a value is wide."""
MOST_LINES = 6
COLOURS = {"plain": "#4a6785", "good": "#2e7d4f", "bad": "#b3352b", "open": "#a8740a"}

STYLE = """
text { font-family: system-ui, "Segoe UI", "DejaVu Sans", Arial, sans-serif; font-size: 12px; fill: #1d2733; }
.head { font-size: 20px; font-weight: 600; } .column { font-size: 13px; fill: #5a6775; letter-spacing: .06em; }
.title { font-size: 13px; font-weight: 600; fill: #ffffff; } .name { fill: #5a6775; } .box { fill: #ffffff; stroke-width: 1.5; }
.value { font-family: ui-monospace, "DejaVu Sans Mono", Consolas, monospace; font-size: 11px; }
.arrow { fill: none; stroke: #5a6775; stroke-width: 1.6; marker-end: url(#tip); }
"""


@dataclass(frozen=True)
class _Placed:
    box: Box
    column: int
    row: int
    x: int
    y: int
    height: int
    beside: int
    """Pixels from the names to the values."""
    lines: tuple[tuple[str, str, str], ...]
    """Name ("" where a value goes on), text, and the whole value."""


def picture(lineage: Lineage) -> str:
    """The picture as SVG, on its own: no scripts, no fonts or images from elsewhere."""
    boxes = {box.key: box for box in lineage.boxes}
    placed = {}
    for column, (_, keys) in enumerate(COLUMNS):
        y = TOP
        for row, key in enumerate(keys):
            beside = round(NAME_WIDE * min(max(len(name) for name, _ in boxes[key].facts), NAME_LETTERS)) + 10
            lines = _lines(boxes[key], int((WIDTH - 2 * PAD - beside) / VALUE_WIDE))
            height = TITLE + 2 * PAD + LINE * len(lines) - 4
            placed[key] = _Placed(boxes[key], column, row, MARGIN + column * (WIDTH + GUTTER), y, height, beside, lines)
            y += height + GAP
    width = 2 * MARGIN + len(COLUMNS) * WIDTH + (len(COLUMNS) - 1) * GUTTER
    height = max(one.y + one.height for one in placed.values()) + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">',
        f"<title>Lineage of {_text(lineage.product)}, version {_text(lineage.version)}</title><style>{STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" fill="#5a6775"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="#f4f6f8"/>',
        f'<text class="head" x="{MARGIN}" y="44">{_text(lineage.product)}, version {_text(lineage.version)}</text>',
    ]
    for column, (name, _) in enumerate(COLUMNS):
        parts.append(f'<text class="column" x="{MARGIN + column * (WIDTH + GUTTER)}" y="78">{name}</text>')
    parts += [_drawn(one) for one in placed.values()]
    parts += _arrows(lineage.arrows, placed)
    return "\n".join([*parts, "</svg>", ""])


def _lines(box: Box, letters: int) -> tuple[tuple[str, str, str], ...]:
    found: list[tuple[str, str, str]] = []
    for name, value in box.facts:
        whole = " ".join(value.split()) or "–"
        wrapped = textwrap.wrap(whole, letters, break_on_hyphens=False)
        if len(wrapped) > MOST_LINES:
            wrapped = [*wrapped[: MOST_LINES - 1], wrapped[MOST_LINES - 1][: letters - 1] + "…"]
        found += [(name if number == 0 else "", text, whole) for number, text in enumerate(wrapped)]
    return tuple(found)


def _drawn(one: _Placed) -> str:
    colour = COLOURS[one.box.state]
    parts = [
        f'<rect class="box" x="{one.x}" y="{one.y}" width="{WIDTH}" height="{one.height}" rx="6" stroke="{colour}"/>',
        f'<path d="M{one.x} {one.y + TITLE} v-{TITLE - 6} q0 -6 6 -6 h{WIDTH - 12} q6 0 6 6 v{TITLE - 6} z" fill="{colour}"/>',
        f'<text class="title" x="{one.x + PAD}" y="{one.y + 20}">{_text(one.box.title)}</text>',
    ]
    for number, (name, text, whole) in enumerate(one.lines):
        y = one.y + TITLE + PAD + 8 + LINE * number
        if name:
            parts.append(f'<text class="name" x="{one.x + PAD}" y="{y}">{_text(name[:NAME_LETTERS])}</text>')
        parts.append(
            f'<text class="value" x="{one.x + PAD + one.beside}" y="{y}">{_text(text)}<title>{_text(whole)}</title></text>'
        )
    return "\n".join(parts)


def _arrows(arrows: Sequence[tuple[str, str]], placed: dict[str, _Placed]) -> list[str]:
    """Straight down or up between neighbours of a column; through the gutter, each in a lane of its own, between columns."""
    drawn, lanes = [], [0] * len(COLUMNS)
    for start, end in arrows:
        a, b = placed[start], placed[end]
        if a.column == b.column:
            x = a.x + WIDTH // 2
            y = (a.y + a.height, b.y) if a.row < b.row else (a.y, b.y + b.height)
            drawn.append(f'<path class="arrow" d="M{x} {y[0]} V{y[1]}"/>')
            continue
        lanes[a.column] += 1
        lane = a.x + WIDTH + GUTTER // 4 * lanes[a.column]
        # Arrows that meet at one box end below each other.
        y_end = b.y + 15 + 12 * sum(1 for other, key in arrows[: arrows.index((start, end))] if key == end and other != start)
        drawn.append(f'<path class="arrow" d="M{a.x + WIDTH} {a.y + 15} H{lane} V{y_end} H{b.x}"/>')
    return drawn


def _text(value: str) -> str:
    """Text that neither is markup nor holds a character that XML does not have."""
    return escape(printable(value))
