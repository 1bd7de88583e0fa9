"""Figures of ``metrics.json`` as the review page shows them, whatever stands in that file."""

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

LONGEST = 2000
_MOST_GATES = 50


def comparison(metrics: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Rows of the table: what, this version, the champion."""
    found = metrics.get("champion")
    champion = found if isinstance(found, Mapping) else {}
    rows = [
        (title, rate(metrics.get(key)), rate(champion.get(key)))
        for title, key in (("Overkill: good parts rejected", "overkill"), ("Escape: defects passed", "escape"))
    ]
    rows += [
        (title, number(metrics.get(key)), number(champion.get(key)))
        for title, key in (("Image AUROC", "image_auroc"), ("Pixel AP", "pixel_ap"), ("Threshold", "threshold"))
    ]
    return rows


def shown_gates(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of each gate its name, its sentence, and whether it passed."""
    gates = metrics.get("gates")
    return [
        {"name": text_of(gate.get("name")), "text": text_of(gate.get("text")), "passed": gate.get("passed") is True}
        for gate in (gates[:_MOST_GATES] if isinstance(gates, list) else ())
        if isinstance(gate, Mapping)
    ]


def rate(value: object) -> str:
    """A rate with its count and bounds; "–" where the value is no rate."""
    if not isinstance(value, Mapping) or not all(is_number(value.get(key)) for key in ("rate", "count", "n", "low", "high")):
        return "–"
    return f"{value['rate']:.1%} ({value['count']} of {value['n']}; {value['low']:.1%} to {value['high']:.1%})"


def number(value: object) -> str:
    """Four digits of a number; "–" where the value is no number."""
    return f"{value:.4g}" if is_number(value) else "–"


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether ``value`` is a number that can be written down: finite, below 1e15, and no truth value."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1e15 and math.isfinite(value)


def text_of(value: object) -> str:
    """A text or a number as it stands, cut to some length; empty for anything else."""
    if isinstance(value, str):
        return value[:LONGEST]
    return number(value) if is_number(value) else ""
