"""Checkpoints: a killed training goes on where it was, with the same weights at its end."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from core.files import replacing
from models.training.training_log import TrainingLog

_DICE_IN_0_1 = "mastered"
"""What 0.1 called ``TrainingLog.recent_dice``: a training that it began goes on."""


def save_checkpoint(target: Path, key: str, log: TrainingLog, state: dict[str, Any]) -> None:
    """Replace ``target`` whole. ``key``: stands for what the training is made from; ``state``: tensors and plain values."""
    with replacing(target) as temporary:
        torch.save({**state, "key": key, "log": asdict(log)}, temporary)


def load_checkpoint(source: Path | None, key: str) -> dict[str, Any] | None:
    """What was saved in ``source`` with this ``key``; None where there is none, it is of another training, or it is damaged."""
    if source is None or not source.exists():
        return None
    try:
        saved: dict[str, Any] = torch.load(source, map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001 - a damaged checkpoint costs time, not the run
        return None
    return saved if saved.get("key") == key else None


def resumed_log(state: dict[str, Any]) -> TrainingLog:
    """The log of a checkpoint, from where training goes on with as many threads as before."""
    fields = dict(state["log"])
    if _DICE_IN_0_1 in fields:
        fields["recent_dice"] = fields.pop(_DICE_IN_0_1)
    log = TrainingLog(**fields)
    log.resumed_at = log.steps
    torch.set_num_threads(log.threads)
    return log
