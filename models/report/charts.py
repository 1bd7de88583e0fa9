"""The report's line charts and bars as inline SVG: drawn in the page's own colours, readable without colour."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from markupsafe import Markup

from models.evaluation.metrics_file import Choice
from models.evaluation.rate import Rate
from models.report.wording import known, number_text, percent_text

NOTHING = Markup("")


def join(parts: Sequence[Markup]) -> Markup:
    """Concatenate pieces of SVG."""
    return NOTHING.join(parts)


def svg(width: float, height: float, label: str, parts: Sequence[Markup], kind: str = "chart") -> Markup:
    """A scalable drawing that screen readers announce as ``label``."""
    head = Markup('<svg class="{}" viewBox="0 0 {:g} {:g}" width="{:g}" height="{:g}" role="img" aria-label="{}">')
    return head.format(kind, width, height, width, height, label) + join(parts) + Markup("</svg>")


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> Markup:
    """Words with their baseline at (x, y)."""
    return Markup('<text x="{:.1f}" y="{:.1f}" class="{}" text-anchor="{}">{}</text>').format(x, y, kind, anchor, words)


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """A straight line."""
    return Markup('<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" class="{}"/>').format(x1, y1, x2, y2, kind)


def path(points: Sequence[tuple[float, float]], kind: str, closed: bool = False) -> Markup:
    """A line through points."""
    route = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + ("Z" if closed else "")
    return Markup('<path d="{}" class="{}"/>').format(route, kind)


@dataclass(frozen=True)
class Axis:
    """Maps values ``low``..``high`` to places ``start``..``end`` of a drawing, linearly or by their logarithm."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = (log10(v) for v in (self.low, self.high, value)) if self.logarithmic else (self.low, self.high, value)
        return self.start + (self.end - self.start) * (at - low) / ((high - low) or 1.0)

    def ticks(self, wanted: int = 6) -> list[float]:
        """Round values inside the axis, about ``wanted`` of them."""
        if self.logarithmic:
            decades = range(floor(log10(self.low)), ceil(log10(self.high)) + 1)
            steps = (1, 2, 5) if len(decades) <= 4 else (1,)
            values = [step * 10.0**decade for decade in decades for step in steps]
        else:
            step = _round_step((self.high - self.low) / wanted)
            values = [k * step for k in range(ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9) + 1)]
        return [v for v in values if self.low <= v <= self.high or abs(v - self.low) < 1e-12]


def _round_step(step: float) -> float:
    """The next of 1, 2, 5 × 10^k that is at least ``step``."""
    if step <= 0:
        return 1.0
    power = 10.0 ** floor(log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))


def tick_text(value: float) -> str:
    """A tick's number without rounding noise."""
    return number_text(float(f"{value:.6g}"))


def bar(value: object) -> Markup:
    """A small bar for a figure 0..1; the number itself stands beside it in the table."""
    if not known(value):
        return NOTHING
    filled = 96 * min(max(value, 0.0), 1.0)
    head = Markup(
        '<svg class="bar" viewBox="0 0 96 8" width="96" height="8" aria-hidden="true"><rect class="track" width="96" height="8"/>'
    )
    return head + Markup('<rect class="fill" width="{:.1f}" height="8"/></svg>').format(filled)


def interval(rate: Rate, top: float, target: float | None = None) -> Markup:
    """A rate as a dot between its 95 % bounds, on an axis from 0 to ``top``; ``target`` is a tick with its value."""
    low, high, middle = rate.low, rate.high, rate.rate
    axis = Axis(0.0, top, 20, 376)
    parts = [line(20, 16, 376, 16, "axis")]
    for tick in axis.ticks(4):
        parts += [line(axis(tick), 12, axis(tick), 20, "axis"), text(axis(tick), 38, percent_text(tick), "tick", "middle")]
    if target is not None and target <= top:
        parts.append(line(axis(target), 2, axis(target), 30, "threshold"))
    parts.append(line(axis(low), 16, axis(high), 16, "range"))
    parts.append(Markup('<circle cx="{:.1f}" cy="16" r="6" class="dot"/>').format(axis(middle)))
    label = f"{percent_text(middle)}, 95 % bounds {percent_text(low)} to {percent_text(high)}"
    return svg(400, 44, label, parts, "interval")


def _frame(x: Axis, y: Axis, x_label: str, y_label: str, whole: bool = False) -> list[Markup]:
    """Axes with ticks, faint guides and names; ``whole``: along x there are whole numbers only."""
    parts = [line(x.start, y.start, x.end, y.start, "axis")]
    for tick in y.ticks(4):
        parts += [line(x.start, y(tick), x.end, y(tick), "guide"), text(x.start - 8, y(tick) + 4, tick_text(tick), "tick", "end")]
    ticks = [tick for tick in x.ticks(5) if not whole or tick == round(tick)]
    parts += [text(x(tick), y.start + 20, tick_text(tick), "tick", "middle") for tick in ticks]
    parts += [text(x.start, y.end - 14, y_label, "name"), text(x.end, y.start + 40, x_label, "name", "end")]
    return parts


def schedule_chart(schedule: Sequence[tuple[float, float, float]]) -> Markup:
    """The band of difficulties drawn at each progress (0..1) of training: (progress, lowest, highest)."""
    x, y = Axis(0.0, 1.0, 56, 448), Axis(0.0, 1.0, 210, 34)
    parts = _frame(x, y, "progress of training", "difficulty of the pseudo-defects drawn")
    upper = [(x(progress), y(high)) for progress, _, high in schedule]
    lower = [(x(progress), y(low)) for progress, low, _ in schedule]
    parts += [path([*upper, *reversed(lower)], "band", closed=True), path(upper, "edge"), path(lower, "edge")]
    return svg(460, 256, "Difficulty of pseudo-defects over the progress of training", parts)


def learning_chart(learning: Sequence[tuple[float, float]], unit: str) -> Markup:
    """The training loss over seconds or steps, at most 400 points, with a running mean over a twentieth of them."""
    points = [(float(at), float(loss)) for at, loss in learning if known(at) and known(loss)]
    if not points:
        return NOTHING
    points = points[:: -(-len(points) // 400)]
    window = max(1, len(points) // 20)
    losses = [loss for _, loss in points]
    means = [
        sum(losses[max(0, i - window + 1) : i + 1]) / len(losses[max(0, i - window + 1) : i + 1]) for i in range(len(losses))
    ]
    x = Axis(min(at for at, _ in points), max(at for at, _ in points) or 1.0, 56, 448)
    y = Axis(min(0.0, *losses, 0.0), max(*losses, 1e-9), 210, 34)
    parts = _frame(x, y, unit, "training loss")
    parts.append(path([(x(at), y(loss)) for at, loss in points], "faint"))
    parts.append(path([(x(at), y(mean)) for (at, _), mean in zip(points, means, strict=True)], "edge"))
    return svg(460, 256, f"Training loss, from {number_text(losses[0])} to {number_text(means[-1])}", parts)


def trade_off_chart(choices: Sequence[Choice], shipped: float) -> Markup:
    """Escape, with its 95 % bounds, over the overkill that each threshold promises; the ``shipped`` threshold is marked."""
    points = [(choice.promised, choice.escape) for choice in choices]
    if len(points) < 2:
        return NOTHING
    x, y = Axis(0.0, max(0.05, points[-1][0]), 56, 448), Axis(0.0, 1.0, 210, 34)
    parts = _frame(x, y, "overkill that the threshold promises", "pseudo-defects that pass")
    upper, lower = [(x(at), y(escape.high)) for at, escape in points], [(x(at), y(escape.low)) for at, escape in points]
    parts += [path([*upper, *reversed(lower)], "band", closed=True), path([(x(at), y(e.rate)) for at, e in points], "edge")]
    now = next((choice for choice in choices if choice.threshold == shipped), None)
    if now is not None:
        parts.append(line(x(now.promised), y.start, x(now.promised), y.end, "threshold"))
    words = "; ".join(f"{percent_text(at)}: {percent_text(escape.rate)}" for at, escape in points[:: max(len(points) // 5, 1)])
    return svg(460, 256, f"Escape by promised overkill: {words}", parts)


def trials_chart(trials: Sequence[dict[str, object]], width: int = 960) -> Markup:
    """The value of every finished trial by its number, and the best so far."""
    pairs = [(trial.get("number"), trial.get("value")) for trial in trials]
    done = [(number, value) for number, value in pairs if known(number) and known(value)]
    if not done:
        return NOTHING
    done.sort()
    x = Axis(min(n for n, _ in done) - 0.5, max(n for n, _ in done) + 0.5, 56, width - 12)
    low, high = min(v for _, v in done), max(v for _, v in done)
    margin = 0.08 * (high - low) or 0.05
    y = Axis(low - margin, high + margin, 190, 34)
    parts = _frame(x, y, "trial", "value reached (higher is better)", whole=True)
    best = done[0][1]
    steps: list[tuple[float, float]] = []
    for number, value in done:
        steps += [(x(number), y(best)), (x(number), y(max(best, value)))]
        best = max(best, value)
    parts.append(path([*steps, (x.end, y(best))], "edge"))
    dot = Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{}" class="{}"><title>trial {}: {}</title></circle>')
    for number, value in done:
        kind, radius = ("dot", 6) if value == best else ("ring", 4)
        parts.append(dot.format(x(number), y(value), radius, kind, number_text(number), number_text(value)))
    return svg(width, 236, f"{len(done)} finished trials; the best reached {number_text(best)}", parts)
