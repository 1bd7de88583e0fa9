"""A small batch whose networks were trained for a few steps, and others like it."""

import shutil
from pathlib import Path
from typing import Any

import cv2
import torch

from core.files import write_json
from data.batch import BatchFolder
from data.defects.regenerate import regenerate
from data.yaml_file import write_yaml
from models.teachers.feature_network import feature_network
from models.teachers.teacher_file import TeacherCard, write_teacher
from models.train import train
from tests.models.detector_tests import good_image


def a_batch(path: Path) -> BatchFolder:
    """As the stage ``tune`` leaves it."""
    folder = BatchFolder(path)
    folder.good.mkdir(parents=True)
    names = [f"{i:03d}.png" for i in range(16)]
    for i, name in enumerate(names):
        cv2.imwrite(str(folder.good / name), good_image(i, 1, 64, 96))
    parts = ("train", "tune", "calibrate", "test")
    write_json(folder.file("split.json"), {part: names[4 * i : 4 * i + 4] for i, part in enumerate(parts)})
    write_yaml(folder.file("params.yaml"), {"seed": 1, "recipe": {"per_family": 2}})
    regenerate(folder)
    folder.file("study").mkdir()
    chosen = {"detector": "unet3plus", "learning_rate": 5e-3, "schedule": "linear", "mix": "drawn"}
    write_json(folder.file("study") / "best.json", {"params": chosen, "value": 0.5, "scale": 1.0, "side": 64})
    return folder


def laid_out(pattern: BatchFolder, path: Path, steps: list[int], **settings: Any) -> BatchFolder:
    """A copy of ``pattern`` in ``path``, to be trained for ``steps`` of each network."""
    shutil.copytree(pattern.path, path, dirs_exist_ok=True)
    folder = BatchFolder(path)
    replay = [{"steps_planned": n, "validations_planned": 1, "steps": n, "threads": 1} for n in steps]
    write_yaml(folder.file("params.yaml"), {"seed": 1, "train": {"replay": replay, **settings}})
    return folder


def trained(pattern: BatchFolder, path: Path, steps: list[int], **settings: Any) -> BatchFolder:
    """The same, trained."""
    folder = laid_out(pattern, path, steps, **settings)
    before = torch.get_num_threads()
    try:
        train(folder)
    finally:
        torch.set_num_threads(before)
    return folder


def a_teacher(folder: Path, seed: int) -> TeacherCard:
    """A teacher of random weights in ``folder``."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        weights = feature_network("teacher", "resnet10t", 3, (1, 2, 3)).state_dict()
    return write_teacher(
        folder, weights, name=f"random-{seed}", kind="features", settings={"backbone": "resnet10t"}, source="imported",
        origin="a test", licence="none needed",
    )  # fmt: skip
