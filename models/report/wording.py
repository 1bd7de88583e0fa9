"""Numbers in words for people who do not read code; each keeps its exact value beside the rounded text."""

from collections.abc import Mapping
from math import isfinite
from typing import Any, TypeGuard

from markupsafe import Markup

from models.evaluation.rate import Rate

MISSING = "not measured"
SPACE = "\u00a0"  # no line break between a number and its unit


def known(value: object) -> TypeGuard[float]:
    """True for a finite number."""
    return isinstance(value, (int, float)) and isfinite(value)


def number_text(value: Any) -> str:
    """Three significant digits; whole numbers in full; "not measured" for None, NaN and infinity."""
    if not known(value):
        return MISSING
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}".replace(",", SPACE)
    return f"{value:,.0f}".replace(",", SPACE) if abs(value) >= 1000 else f"{value:.3g}"


def percent_text(rate: Any) -> str:
    """A rate 0..1 as percent with one or two decimals: 0.0119 → 1.2 %; whole numbers without."""
    if not known(rate):
        return MISSING
    value = 100 * rate
    digits = 0 if abs(value - round(value)) < 1e-9 else 1 if value >= 1 else 2
    text = f"{value:.{digits}f}"
    if value < 100 and float(text) >= 100:
        text = "> 99.9"  # 99.96 % is not 100 %
    if 0 < value < 0.005:
        text = "< 0.01"
    return f"{text}{SPACE}%"


def duration_text(seconds: Any) -> str:
    """Seconds as "4 min 12 s", "1 h 3 min" or "0.8 s"."""
    if not known(seconds):
        return MISSING
    if seconds < 10:
        return f"{seconds:.1f}{SPACE}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{SPACE}s"
    if whole < 3600:
        return f"{whole // 60}{SPACE}min {whole % 60}{SPACE}s"
    return f"{whole // 3600}{SPACE}h {whole % 3600 // 60}{SPACE}min"


def exact(value: Any, text: str) -> Markup:
    """``text`` with the unrounded ``value`` beside it for programs and for the pointer."""
    return Markup('<data value="{0}" title="{0}">{1}</data>').format(value, text) if known(value) else Markup("{}").format(text)


def number(value: Any) -> Markup:
    """A number as HTML."""
    return exact(value, number_text(value))


def percent(rate: Any) -> Markup:
    """A rate 0..1 as HTML, in percent."""
    return exact(rate, percent_text(rate))


def duration(seconds: Any) -> Markup:
    """Seconds as HTML."""
    return exact(seconds, duration_text(seconds))


def bounds(rate: Rate) -> Markup:
    """The 95 % bounds of a rate as HTML: "0.1 % to 6.5 %"."""
    return Markup("{} to {}").format(percent(rate.low), percent(rate.high))


def plain(value: Any) -> Any:
    """A setting as one line: numbers exactly as recorded, short lists joined, tables counted, None as a dash."""
    if value is None or value == "":
        return "–"
    if isinstance(value, (list, tuple)) and any(isinstance(item, (list, tuple, Mapping)) for item in value):
        return f"{len(value)} entries"
    if isinstance(value, (list, tuple)):
        shown = ", ".join(str(plain(item)) for item in value[:12])
        return shown if len(value) <= 12 else f"{shown}, … ({len(value)} in all)"
    return value


def flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested settings as (dotted key, value) pairs, in the order given."""
    rows: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            rows.extend(flat(value, f"{prefix}{key}."))
        elif isinstance(value, (list, tuple)) and value and all(isinstance(item, Mapping) for item in value):
            rows.extend(flat({str(place): item for place, item in enumerate(value[:12], start=1)}, f"{prefix}{key}."))
        else:
            rows.append((f"{prefix}{key}", plain(value)))
    return rows
