"""Figures of ``metrics.json`` as the review page and the description of a version show them, whatever stands in that file: it
comes from a trainer, of any Changeover. ``Metrics`` of the models says what is written; the registry does not load it."""

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

LONGEST = 2000
_MOST_GATES = 50


def champion_of(metrics: Mapping[str, Any]) -> str:
    """The version that was compared with; empty where there was none."""
    return text_of(_champion(metrics).get("version"))


def comparison(metrics: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Rows of the table: what, this version, the champion."""
    champion = _champion(metrics)
    rows = [
        (title, rate(metrics.get(key)), rate(champion.get(key)))
        for title, key in (("overkill (good parts rejected)", "overkill"), ("escape (defects passed)", "escape"))
    ]
    missed, of_champion = _not_judged(metrics), _not_judged(champion)
    rows += [
        (title, number(missed.get(key)), number(of_champion.get(key)))
        for title, key in (("not judged, good parts (part of overkill)", "test"), ("not judged, defects (no escape)", "defects"))
        if missed or of_champion
    ]
    rows += [
        (title, number(metrics.get(key)), number(champion.get(key)))
        for title, key in (("image AUROC", "image_auroc"), ("pixel AP", "pixel_ap"), ("threshold", "threshold"))
    ]
    return rows


def _champion(metrics: Mapping[str, Any]) -> Mapping[str, Any]:
    found = metrics.get("champion")
    return found if isinstance(found, Mapping) else {}


def _not_judged(metrics: Mapping[str, Any]) -> Mapping[str, Any]:
    """How many images a model did not judge; empty where it judges every image, or does not say."""
    found = metrics.get("not_judged")
    return found if isinstance(found, Mapping) else {}


def shown_gates(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of each gate its name, its sentence, its value and limit, and whether it passed."""
    gates = metrics.get("gates")
    return [
        {
            "name": text_of(gate.get("name")), "text": text_of(gate.get("text")), "passed": gate.get("passed") is True,
            "value": number(gate.get("value")), "limit": number(gate.get("limit")),
        }
        for gate in (gates[:_MOST_GATES] if isinstance(gates, list) else ())
        if isinstance(gate, Mapping)
    ]  # fmt: skip


def rate(value: object) -> str:
    """A rate with its count and bounds; "–" where the value is no rate."""
    if not isinstance(value, Mapping) or not all(is_number(value.get(key)) for key in ("rate", "count", "n", "low", "high")):
        return "–"
    return f"{value['rate']:.2%} ({value['count']} of {value['n']}), 95 %: {value['low']:.2%} to {value['high']:.2%}"


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
