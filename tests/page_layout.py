"""What is wrong with the layout of a page, in a real browser: what a reader would see at a glance, as rules.

At the width of a telephone, a desk and a wide screen, and on paper: nothing reaches out of the page or has to be pushed sideways,
no row of a table is far higher than its text needs, no column is empty, no word is broken, no chart loses its words.
"""

from typing import Any

WIDTHS = (400, 1200, 1900)
PAPER = (680, 1000)
"""CSS px that A4 has within margins of 15 and 16 mm."""

FAULTS = r"""height => {
  for (const folded of document.querySelectorAll("details")) folded.open = true;
  const faults = [], page = document.documentElement;
  const say = (what, element) => faults.push(`${what}: ${(element.outerHTML || element).replace(/\s+/g, " ").slice(0, 160)}`);
  const seen = element => element.checkVisibility({visibilityProperty: true}) && element.getBoundingClientRect().width > 0;
  if (page.scrollWidth > innerWidth) say("the page is wider than its window", `${page.scrollWidth} > ${innerWidth}`);
  const all = [...document.body.querySelectorAll("*")].filter(element => seen(element) && !element.closest(".skip"));
  for (const element of all) {
    const box = element.getBoundingClientRect();
    const drawn = element.closest("svg") && element.tagName !== "svg";
    if (!drawn && (box.right > innerWidth + 1 || box.left < -1)) say("reaches out of the page", element);
    if (/auto|scroll|hidden/.test(getComputedStyle(element).overflowX) && element.scrollWidth > element.clientWidth + 1 && !drawn)
      say("has to be pushed sideways", element);
  }
  const textsOf = element => {
    const walk = document.createTreeWalker(element, NodeFilter.SHOW_TEXT), found = [];
    while (walk.nextNode())
      if (walk.currentNode.data.trim() && seen(walk.currentNode.parentElement)) found.push(walk.currentNode);
    return found;
  };
  const rectsOf = (node, from, to) => {
    const range = document.createRange();
    range.setStart(node, from); range.setEnd(node, to);
    return [...range.getClientRects()].filter(rect => rect.width > 0);
  };
  const lengthOf = element =>
    textsOf(element).flatMap(node => rectsOf(node, 0, node.length)).reduce((sum, rect) => sum + rect.width, 0);
  for (const row of document.querySelectorAll("tbody tr")) {
    if (!seen(row)) continue;
    const width = row.getBoundingClientRect().width, cells = [...row.cells];
    const line = Math.max(...cells.map(cell => parseFloat(getComputedStyle(cell).lineHeight)));
    const stacked = getComputedStyle(row).display === "block";
    const lines = stacked
      ? cells.reduce((sum, cell) => sum + Math.ceil(lengthOf(cell) / width) + 2, 1)
      : 3 * cells.reduce((sum, cell) => sum + lengthOf(cell), 0) / width + 4;
    if (row.getBoundingClientRect().height > lines * line) say(`a row ${row.getBoundingClientRect().height} px high`, row);
  }
  for (const table of document.querySelectorAll("table")) {
    const rows = [...table.tBodies].flatMap(body => [...body.rows]);
    const columns = Math.max(0, ...rows.map(row => row.cells.length));
    for (let n = 0; n < columns; n++)
      if (rows.every(row => !row.cells[n]?.innerText.trim() && !row.cells[n]?.querySelector("svg, img")))
        say(`column ${n} is empty`, table);
  }
  for (const node of textsOf(document.body)) {
    if (node.parentElement.closest("pre, code, bdi, option, .digest, .digests, .name")) continue;
    for (const word of node.data.matchAll(/(?<![\p{L}\d_./-])\p{L}{2,18}(?![\p{L}\d_./-])/gu)) {
      const tops = new Set(rectsOf(node, word.index, word.index + word[0].length).map(rect => Math.round(rect.top)));
      if (tops.size > 1) say(`the word ${word[0]} is broken`, node.parentElement);
    }
  }
  for (const drawing of document.querySelectorAll("svg")) {
    if (!seen(drawing)) continue;
    const frame = drawing.getBoundingClientRect();
    const boxes = [...drawing.querySelectorAll("text")].map(text => [text, text.getBoundingClientRect()]);
    boxes.forEach(([text, box], n) => {
      if (box.left < frame.left - 2 || box.right > frame.right + 2 || box.top < frame.top - 2 || box.bottom > frame.bottom + 2)
        say("words of a chart are cut off", text);
      for (const [other, next] of boxes.slice(n + 1))
        if (Math.min(box.right, next.right) - Math.max(box.left, next.left) > 1 &&
            Math.min(box.bottom, next.bottom) - Math.max(box.top, next.top) > 3) say(`lies over ${other.outerHTML}`, text);
    });
  }
  if (height)
    for (const whole of all.filter(element => element.matches("svg.chart, figure, tr, .charts > div"))) {
      if (whole.getBoundingClientRect().height > height) say("is higher than a sheet", whole);
      let kept = whole;
      while (kept && getComputedStyle(kept).breakInside !== "avoid") kept = kept.parentElement;
      if (!kept) say("may be cut by the end of a sheet", whole);
    }
  return faults;
}"""


SETTLED = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
"""Two frames: a browser under load answers with its new width before the rules for that width hold."""


def layout_faults(page: Any) -> list[str]:
    """What is wrong with a Playwright page, at every width and in print, a line each."""
    page.wait_for_load_state("load")
    faults: list[str] = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 1000})
        page.evaluate(SETTLED)
        faults += [f"{width} px: {fault}" for fault in page.evaluate(FAULTS, 0)]
    page.emulate_media(media="print")
    page.set_viewport_size({"width": PAPER[0], "height": PAPER[1]})
    page.evaluate(SETTLED)
    faults += [f"print: {fault}" for fault in page.evaluate(FAULTS, PAPER[1])]
    printed = page.pdf(prefer_css_page_size=True)
    if not (printed.startswith(b"%PDF-") and printed.rstrip().endswith(b"%%EOF")):
        faults.append("print: no PDF")
    page.emulate_media(media="screen")
    return faults
