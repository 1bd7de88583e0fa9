"""A warm start: networks go on from those of an earlier model of the same product or of a sibling."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from core.errors import BadModel
from core.files import file_digest
from models.detectors.detector import Detector
from models.detectors.teaching import takes
from models.teachers.teacher_file import TeacherCard
from models.training.trained import NetworkRecord, network_records, read_states

CARD, WEIGHTS, TRAINING = "warm.json", "weights.pt", "training.json"


class WarmSource(BaseModel):
    """``warm.json``: whose networks lie beside it. ``weights_digest``: sha256 of ``weights.pt``.

    ``learned``: images of this batch that they were trained on, or of the same parts: these must not measure what comes of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)
    product: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")
    version: str = Field(pattern=r"^[0-9]{1,9}$")
    weights_digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    learned: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """In words."""
        return f"version {self.version} of {self.product}"


@dataclass(frozen=True)
class WarmStart:
    """``networks``: what each was trained as, and its state. ``teacher``: that they were trained against."""

    source: WarmSource
    networks: tuple[tuple[NetworkRecord, dict[str, Tensor]], ...]
    teacher: TeacherCard | None

    def state_for(
        self, record: NetworkRecord, member: int, fresh: Detector, teacher: TeacherCard | None
    ) -> dict[str, Tensor] | None:
        """The state that a ``fresh`` detector of ``record`` goes on from: of a network of the same family, settings, reduction
        and shapes (which also tell grey from colour); with several of them, ``member`` takes its own. None where there is none,
        where it was trained against another teacher than ``teacher``, and for what does not learn step by step."""
        if not fresh.trainable or _seen_by(fresh, self.teacher) != _seen_by(fresh, teacher):
            return None
        wanted, shapes = _plain(record), _shapes(fresh.state_dict())
        like = [state for known, state in self.networks if _plain(known) == wanted and _shapes(state) == shapes]
        return like[member % len(like)] if like else None


def learned_before(training: Mapping[str, Any]) -> frozenset[str]:
    """Images that must not measure the networks of ``training.json``, since what these started from has learned them."""
    start = training.get("warm_start")
    if not isinstance(start, Mapping) or not any(log.get("warm") for log in training["networks"]):
        return frozenset()
    return frozenset(map(str, start.get("learned", ())))


def read_warm_start(folder: Path) -> WarmStart | None:
    """The networks in ``folder``; None where there are none (no folder, no card, or ``{"version": null}``). BadModel, in one
    line, where the files are damaged or not those that the card names."""
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        if isinstance(card, dict) and card.get("version", "") is None:
            return None
        source = WarmSource.model_validate(card)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, ValidationError) as error:
        raise BadModel(f"{folder / CARD} is damaged ({type(error).__name__}); delete it and run the changeover again") from error
    try:
        digest = file_digest(folder / WEIGHTS)
        training = json.loads((folder / TRAINING).read_text(encoding="utf-8"))
        if digest != source.weights_digest or training["weights_digest"] != digest:
            raise BadModel(
                f"{folder / WEIGHTS} has digest {digest[:12]}, its card says {source.weights_digest[:12]} and its training.json "
                f"{str(training['weights_digest'])[:12]}; delete the folder and run the changeover again to fetch {source.title}"
            )
        records = network_records(training)
        states = read_states(folder / WEIGHTS, len(records))
        teacher = training.get("teacher")
        known = None if teacher is None else TeacherCard.model_validate(teacher)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadModel(
            f"{folder} does not hold the networks of {source.title} ({type(error).__name__}); delete it and run the changeover "
            "again to fetch them"
        ) from error
    return WarmStart(source, tuple(zip(records, states, strict=True)), known)


def _plain(record: NetworkRecord) -> str:
    """A record as JSON has it, where a tuple is a list."""
    return json.dumps(vars(record), sort_keys=True)


def _shapes(state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Of what is learned: templates are the batch's own, and their number and size may be others each time."""
    return {key: tuple(value.shape) for key, value in state.items() if not key.startswith("bank.")}


def _seen_by(detector: Detector, card: TeacherCard | None) -> str | None:
    """Digest of the teacher that ``detector`` takes of ``card``: None if it takes none, or random features."""
    return card.digest if card is not None and takes(detector, card) else None
