"""Named presets: how much a changeover may cost, and what ``params.yaml`` says for it."""

import re
from dataclasses import dataclass
from typing import Any, Literal, get_args

from core.errors import BadSettings

Preset = Literal["quick", "standard", "thorough"]
PRESETS: tuple[Preset, ...] = get_args(Preset)

SECONDS: dict[Preset, int] = {"quick": 4 * 60, "standard": 6 * 60, "thorough": 60 * 60}
"""Tuning and training together, in seconds."""

COMPANION = "patchcore"
"""Trained beside the network that tuning chose. It is built in seconds and fails on other defects; it is not shipped where exam
defects do not speak for it."""
TUNE_SHARE, WORTH_TUNING = 0.25, 360.0
MIN_BUDGET, MAX_BUDGET = 10.0, 7 * 24 * 3600.0
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def parse_budget(text: str) -> float:
    """Seconds of ``90s``, ``8m`` or ``1.5h``; BadSettings for anything else, under 10 seconds or over a week."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh])\s*", text.lower())
    if not found:
        raise BadSettings(f"budget {text[:40]!r} is not a number with s, m or h; write 90s, 8m or 1.5h")
    seconds = float(found[1]) * UNITS[found[2]]
    if not MIN_BUDGET <= seconds <= MAX_BUDGET:
        raise BadSettings(f"budget {text!r} is {seconds:g} seconds, but has to be between 10s and 168h; 8m suits most products")
    return seconds


def check_preset(name: str) -> Preset:
    """``name`` as a preset; BadSettings if there is none of that name."""
    for preset in PRESETS:
        if name == preset:
            return preset
    raise BadSettings(f"preset {name[:40]!r} is not one of {', '.join(PRESETS)}; try --preset standard")


@dataclass(frozen=True)
class RunRequest:
    """What to spend on one batch, and what to start from.

    ``budget`` is in seconds, for tuning and training together; None takes the preset's. ``warm_start``: the product whose
    champion training starts from, or None.
    """

    preset: Preset = "standard"
    budget: float | None = None
    seed: int = 1
    warm_start: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**31:
            raise BadSettings(f"seed {self.seed} is not between 0 and 2147483647; leave --seed away for 1")

    @property
    def seconds(self) -> float:
        """Tuning and training together, in seconds."""
        return SECONDS[self.preset] if self.budget is None else self.budget

    def params(self) -> dict[str, Any]:
        """The content of ``params.yaml``: only what differs from the stages' own defaults."""
        # One trial chooses nothing, and a minute and a half cannot rank two detectors: training gets the time.
        trials = {"quick": 1, "standard": 2, "thorough": 16}[self.preset]
        worth_it = trials > 1 and self.seconds >= WORTH_TUNING
        tune_seconds = round(TUNE_SHARE * self.seconds) if worth_it else 0
        warm = {"set_up": {"warm_start": self.warm_start}} if self.warm_start else {}
        return {
            "seed": self.seed,
            "preset": self.preset,
            **warm,
            "validate": {},
            "recipe": {},
            "tune": {"seconds": tune_seconds, "trials": trials} if worth_it else {"trials": 1},
            "train": {"seconds": round(self.seconds) - tune_seconds, "companion": COMPANION},
            "evaluate": {},
        }
