"""A version and its rebuild side by side: what must be the same, what may differ by how much, and what explains a difference."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from models.evaluation.metrics_file import Metrics, Recorded, Training

THRESHOLD_WITHIN = 0.01
"""Relative difference of the threshold."""
FIGURE_WITHIN = 0.01
"""Absolute difference of image AUROC and pixel AP."""
VERDICTS_EQUAL = 0.99
"""Share of verdicts on the frozen images."""

Kind = Literal["same", "close", "different"]


@dataclass(frozen=True)
class Row:
    """One thing compared. ``close``: not the same, but within the tolerance of its kind."""

    what: str
    recorded: str
    rebuilt: str
    result: Kind


def machine_differences(recorded: Metrics, now: Metrics) -> list[str]:
    """Differences of machine, packages and code, a sentence each; empty where the weights have to be bit-identical.

    A training on a GPU counts as a difference: some of its kernels add in any order.
    """
    found: list[str] = []
    # Stages that were up to date were not run again: training may be older than its evaluation, and by another code.
    pairs: tuple[tuple[Training | Metrics, Training | Metrics], ...] = ((recorded.training, now.training), (recorded, now))
    for then, present in pairs:
        machine, machine_now = then.environment, present.environment
        for key in ("cpu", "instructions", "device", "threads", "python", "changeover", "code"):
            if key not in machine:
                found.append(f"{key} is not on record")
            elif machine[key] != machine_now.get(key):
                found.append(f"{key} was {machine[key]}, is {machine_now.get(key)}")
        installed, installed_now = then.packages, present.packages
        for name in sorted(installed.keys() | installed_now.keys()):
            if installed.get(name) != installed_now.get(name):
                found.append(f"{name} was {installed.get(name, 'not on record')}, is {installed_now.get(name, 'not installed')}")
    found = list(dict.fromkeys(found))
    if any(network.device != "cpu" for network in recorded.training.networks):
        found.append("it was trained on a GPU, where sums are not added in a fixed order")
    return found


def compare(recorded: Metrics, rebuilt: Metrics) -> list[Row]:
    """Weights, model file, threshold, figures and verdicts on the same frozen images."""
    then, now = recorded.training, rebuilt.training
    rows = [
        exact("study choice", _choice(then), _choice(now)),
        exact("steps", _steps(then), _steps(now)),
        exact("weights", then.weights_digest[:16], now.weights_digest[:16]),
        exact("model file", recorded.model_digest[:16], rebuilt.model_digest[:16]),
        _number("threshold", recorded.threshold, rebuilt.threshold, THRESHOLD_WITHIN * abs(recorded.threshold)),
        _number("image AUROC", recorded.image_auroc, rebuilt.image_auroc, FIGURE_WITHIN),
        _number("pixel AP", recorded.pixel_ap, rebuilt.pixel_ap, FIGURE_WITHIN),
    ]
    verdicts = partial(_verdicts, limits=(recorded.threshold, rebuilt.threshold))
    before, after = recorded.scores, rebuilt.scores
    rows.append(verdicts("calibration images", before.calibrate, after.calibrate))
    rows.append(verdicts("test images", before.test, after.test))
    rows.append(verdicts("pseudo-defects", before.defects, after.defects))
    rows.append(exact("gates", *("passed" if metrics.passed else "failed" for metrics in (recorded, rebuilt))))
    return rows


def outcome(rows: Sequence[Row], explained: Sequence[str]) -> str:
    """``identical``, ``within tolerance`` (only where something explains a difference) or ``different``."""
    if all(row.result == "same" for row in rows):
        return "identical"
    # These may differ in their bits, which the tolerances are for; the numbers below them decide.
    judged = [row for row in rows if row.what not in ("weights", "model file", "exam defects")]
    return "within tolerance" if explained and all(row.result != "different" for row in judged) else "different"


def _choice(training: Training) -> str:
    return ", ".join(f"{key} {value}" for key, value in sorted(training.chosen.items()))


def _steps(training: Training) -> str:
    return ", ".join(network.steps_text for network in training.networks)


def exact(what: str, recorded: str, rebuilt: str) -> Row:
    """A row of something that is the same or not."""
    return Row(what, recorded, rebuilt, "same" if recorded == rebuilt else "different")


def _number(what: str, recorded: float, rebuilt: float, within: float) -> Row:
    result: Kind = "same" if recorded == rebuilt else "close" if abs(recorded - rebuilt) <= within else "different"
    return Row(what, f"{recorded:.6g}", f"{rebuilt:.6g}", result)


def _verdicts(title: str, then: Recorded, now: Recorded, limits: tuple[float, float]) -> Row:
    """Verdicts on both scores, each at the threshold of its own ``limits``; what was not judged was rejected. ``same`` asks for
    the same scores."""
    ours = [score is None or score > limits[0] for score in then]
    theirs = [score is None or score > limits[1] for score in now]
    equal = sum(a == b for a, b in zip(ours, theirs, strict=False)) if len(ours) == len(theirs) else 0
    result: Kind = "same" if then == now and ours == theirs else "close" if equal >= VERDICTS_EQUAL * len(ours) else "different"
    return Row(f"verdicts, {title}", f"{sum(ours)} of {len(ours)} rejected", f"{sum(theirs)} rejected, {equal} equal", result)
