"""Checkpoints of a training, and those that 0.1 wrote."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from models.training.checkpoint import load_checkpoint, resumed_log, save_checkpoint
from models.training.training_log import TrainingLog


@pytest.mark.parametrize("name", ["recent_dice", "mastered"])
def test_a_training_goes_on_with_the_dice_that_it_had(tmp_path: Path, name: str) -> None:
    """``mastered``: the name in files of 0.1."""
    log = TrainingLog(
        steps_planned=40, steps=12, competences=[(4, 0.1)], recent_dice=[0.25, 0.75], threads=torch.get_num_threads()
    )
    save_checkpoint(tmp_path / "checkpoint.pt", "key", log, {"stale": 0})
    saved = load_checkpoint(tmp_path / "checkpoint.pt", "key")
    assert saved is not None
    fields = saved["log"]
    fields[name] = fields.pop("recent_dice")
    resumed = resumed_log(saved)
    assert asdict(resumed) == asdict(log) | {"resumed_at": 12}
    assert load_checkpoint(tmp_path / "checkpoint.pt", "another key") is None
