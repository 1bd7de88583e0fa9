"""What training leaves in ``model/``: networks of one or of several families, and the record of how each came about."""

import json
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.errors import BadModel
from data.batch import BatchFolder
from models.detectors.catalogue import build_detector, families
from models.detectors.detector import Detector, Kind
from models.detectors.teaching import takes
from models.teachers.teacher_file import TeacherCard


@dataclass(frozen=True)
class NetworkRecord:
    """``detector``: the family. ``reduction``: of the view that it sees."""

    detector: str
    settings: dict[str, Any]
    reduction: int


def network_records(training: Mapping[str, Any]) -> list[NetworkRecord]:
    """The record of each network, in the order of the weights; ``training``: the content of ``training.json``. Older trainings
    are of one family, which they name once for all networks."""
    return [
        NetworkRecord(
            str(log.get("detector", training["detector"])), dict(log.get("settings", training["settings"])), int(reduction)
        )
        for log, reduction in zip(training["networks"], training["reductions"], strict=True)
    ]


def read_states(source: Path, count: int) -> list[dict[str, Tensor]]:
    """The states of ``count`` networks in ``weights.pt``; ValueError where it holds anything else."""
    try:
        states = torch.load(source, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{source.name} cannot be read") from error
    named = isinstance(states, list) and all(isinstance(state, dict) for state in states)
    if not named or len(states) != count or not all(isinstance(v, Tensor) for state in states for v in state.values()):
        raise ValueError(f"{source.name} does not hold the states of {count} networks")
    return list(states)


def read_trained(folder: BatchFolder, channels: int) -> tuple[list[Detector], dict[str, Any]]:
    """The detectors of ``model/`` in evaluation mode, and ``training.json``; BadModel if the files do not fit each other."""
    source = folder.file("model")
    try:
        training = json.loads((source / "training.json").read_text(encoding="utf-8"))
        records = network_records(training)
        detectors = []
        for record, state in zip(records, read_states(source / "weights.pt", len(records)), strict=True):
            detector = build_detector(record.detector, channels, record.settings)
            detector.load_state_dict(state)
            detectors.append(detector.eval().to(memory_format=torch.channels_last))  # as it was trained, and faster
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise BadModel(
            f"model/ in {source.parent} is missing or damaged ({type(error).__name__}); delete it and run again"
        ) from error
    return detectors, training


def of_kind(kind: Kind, detectors: Sequence[Detector], training: Mapping[str, Any]) -> tuple[list[Detector], dict[str, Any]]:
    """The detectors of one ``kind`` out of ``read_trained``, with their part of the training's record: as if the others had not
    been trained."""
    numbers = [number for number, detector in enumerate(detectors) if detector.kind == kind]
    kept = {key: [training[key][number] for number in numbers] for key in ("networks", "reductions")}
    return [detectors[number] for number in numbers], {**training, **kept}


def fused_text(training: Mapping[str, Any], chosen: Sequence[int]) -> str:
    """Families that an inspector fuses in words: ``unet3plus + patchcore``. ``chosen``: numbers of the networks that are read."""
    records = network_records(training)
    return " + ".join(dict.fromkeys(records[number].detector for number in chosen))


def teacher_text(training: Mapping[str, Any]) -> str:
    """The teacher that the networks were trained against or started from, in words: its title and licence, random features, or
    none."""
    networks = [(families()[record.detector], record.settings) for record in network_records(training)]
    compares = any(family.kind == "feature_distance" and family.teacher_kind is not None for family, _ in networks)
    card = None if training.get("teacher") is None else TeacherCard.model_validate(training["teacher"])
    if card is not None and any(
        takes(family, card) and (family.kind == "feature_distance" or settings.get("spread") is not None)
        for family, settings in networks
    ):
        return f"{card.title}; licence: {card.licence}"
    return "random features" if compares else "none: no network compares with one"
