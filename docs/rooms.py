"""Draws ``docs/rooms.svg``: the rooms of the code, their folders, and who imports whom. Read from the code itself.

    python docs/rooms.py

Arrows that follow from others are left out: where A uses B and B uses C, no arrow says that A uses C.
"""

import ast
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from html import escape
from itertools import chain
from pathlib import Path
from textwrap import wrap

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "rooms.svg"
ROOMS = ("flows", "registry", "models", "data", "core")
Graph = dict[str, set[str]]


def modules() -> dict[str, Path]:
    """Every module of the rooms by its dotted name; packages themselves, which hold nothing, are left out."""
    files = chain.from_iterable(sorted((ROOT / room).rglob("*.py")) for room in ROOMS)
    return {".".join(f.relative_to(ROOT).with_suffix("").parts): f for f in files if f.name != "__init__.py"}


def import_graph() -> Graph:
    """Which modules each module imports, wherever in the file that stands, for type checkers alone too. A text of the form
    ``module:Class`` is an import that is made later."""
    known = modules()
    graph: Graph = {name: set() for name in known}
    for name, file in known.items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found: Iterable[str] = (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                whole = [f"{node.module}.{alias.name}" for alias in node.names]
                found = (one if one in known else str(node.module) for one in whole)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found = (node.value.partition(":")[0],) if ":" in node.value else ()
            else:
                continue
            graph[name] |= set(found) & known.keys() - {name}
    return graph


def folder_of(module: str) -> str:
    """``models.training`` of ``models.training.fit``; a module at the root of a room stands for itself."""
    return module if module.count(".") < 2 else module.rpartition(".")[0]


def folded(graph: Mapping[str, set[str]]) -> Graph:
    """The graph of folders."""
    found: Graph = {}
    for name, used in graph.items():
        found.setdefault(folder_of(name), set()).update(folder_of(one) for one in used if folder_of(one) != folder_of(name))
    return found


def circle_in(graph: Mapping[str, set[str]]) -> list[str]:
    """Names along one circle of ``graph``, the first of them again at the end; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as found:
        return list(reversed(found.args[1]))
    return []


def _reached(graph: Graph, name: str) -> set[str]:
    found: set[str] = set()
    left = list(graph.get(name, ()))
    while left:
        if (one := left.pop()) not in found:
            found.add(one)
            left += graph.get(one, ())
    return found


def reduced(graph: Graph) -> Graph:
    """``graph`` (without circles) without the arrows that follow from others."""
    return {a: {b for b in used if not any(b in _reached(graph, other) for other in used - {b})} for a, used in graph.items()}


def _level(graph: Graph, name: str) -> int:
    return max((1 + _level(graph, used) for used in graph[name]), default=0)


BOX, APART, GAP, WIDTH = (128, 46), (28, 14), 14, 980
LINE = 150
"""Characters of a line of module names."""
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2933; }
  .name { font-weight: 600; font-size: 15px; } .few { fill: #616e7c; font-size: 11px; }
  .room { fill: #f5f7fa; stroke: #9aa5b1; } .box { fill: #ffffff; stroke: #52606d; }
  .arrow { stroke: #3e4c59; fill: none; stroke-width: 1.2; marker-end: url(#head); }
"""


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def _room(room: str, top: float, graph: Graph) -> tuple[list[str], float]:
    """A room from ``top`` down, and where it ends."""
    members: dict[str, list[str]] = {}
    for name in graph:
        if name.startswith(f"{room}."):
            members.setdefault(folder_of(name), []).append(name)
    roots = sorted(name.split(".")[1] for name in members if name in graph)
    folders = sorted(name for name in members if name not in graph)
    uses = folded(graph)
    inner: Graph = {f: {u for u in _reached(uses, f) if u in folders} for f in folders}
    levels = {f: _level(inner, f) for f in folders}
    columns = [[f for f in folders if levels[f] == n] for n in range(max(levels.values(), default=-1), -1, -1)]
    words = wrap(", ".join(roots), LINE)
    first = top + 44 + 15 * len(words)
    places = {
        folder: (24.0 + number * (BOX[0] + APART[0]), first + row * (BOX[1] + APART[1]))
        for number, column in enumerate(columns)
        for row, folder in enumerate(column)
    }
    end = max((y + BOX[1] for _, y in places.values()), default=first - 16) + 14
    lines = [f'<rect class="room" x="10" y="{top:.0f}" width="{WIDTH - 20}" height="{end - top:.0f}" rx="8"/>']
    lines += [_text(24, top + 24, f"{room}/", "name")]
    lines += [_text(24, top + 44 + 15 * number, line, "few") for number, line in enumerate(words)]
    for folder, used in sorted(reduced(inner).items()):
        for one in sorted(used):
            (x, y), (to_x, to_y) = places[folder], places[one]
            half = BOX[1] / 2
            lines.append(f'<path class="arrow" d="M{x + BOX[0]:.0f} {y + half:.0f} L{to_x - 3:.0f} {to_y + half:.0f}"/>')
    for folder, (x, y) in sorted(places.items()):
        lines.append(f'<rect class="box" x="{x:.0f}" y="{y:.0f}" width="{BOX[0]}" height="{BOX[1]}" rx="5"/>')
        lines.append(_text(x + BOX[0] / 2, y + 20, f"{folder.split('.')[1]}/", "", "middle"))
        lines.append(_text(x + BOX[0] / 2, y + 36, f"{len(members[folder])} files", "few", "middle"))
    return lines, end


def picture() -> str:
    """The SVG."""
    graph = import_graph()
    between = {
        room: sorted({u.split(".")[0] for n in graph if n.startswith(f"{room}.") for u in graph[n]} - {room}) for room in ROOMS
    }
    lines, top = [], 10.0
    for room in ROOMS:
        drawn, end = _room(room, top, graph)
        lines += drawn
        if between[room]:
            lines.append(_text(WIDTH - 24, top + 24, f"uses {', '.join(between[room])}", "", "end"))
        top = end + GAP
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top:.0f}" role="img" '
        'aria-label="Rooms and their folders">',
        f"<style>{STYLE}</style>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" fill="#3e4c59"/></marker></defs>',
        *lines, "</svg>", "",
    ])  # fmt: skip


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
    print(f"wrote {PICTURE.relative_to(ROOT)}")
