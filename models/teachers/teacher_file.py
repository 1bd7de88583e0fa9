"""Teacher files: weights in safetensors, which hold nothing that runs, and beside them a card that says where they come from."""

import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from core.errors import BadModel
from core.files import file_digest, replacing, write_json
from models.teachers.feature_network import feature_network, matched
from models.teachers.recognise import recognised

WEIGHTS, CARD = "teacher.safetensors", "teacher.json"
LEVELS = (1, 2, 3)
"""What is kept of a feature network: strides 4, 8 and 16."""
PREFIXES = ("module.", "model.", "encoder.", "backbone.")
"""What training programs put before the names of a network's weights."""
Source = Literal["imported", "pulled", "self-supervised", "pseudo-defects", "distilled"]
ELSEWHERE = ("imported", "pulled")
"""Sources of weights that were trained on photographs, not on a plant's own images."""


class TeacherCard(BaseModel):
    """``teacher.json``.

    ``kind``: ``features`` (a network of ``models.teachers.feature_network``; ``settings``: its ``backbone``) or ``patches`` (the
    patch networks of Uninformed Students; ``settings``: their ``sides``, ``width`` and ``outputs``). ``origin``: in words, which
    file, hub or images the weights come from. ``licence``: a note on what they may be used for. ``digest``: sha256 of the weights
    file. ``made``: how it was trained, where it was trained here."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,50}$")
    kind: Literal["features", "patches"]
    settings: dict[str, Any]
    source: Source
    origin: str = Field(min_length=1, max_length=1000)
    licence: str = Field(min_length=1, max_length=1000)
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    made: dict[str, Any] = {}

    @property
    def title(self) -> str:
        """What it is in a few words, for tables and reports."""
        what = self.settings.get("backbone", "patch networks")
        return f"{self.name} ({what}, {self.source}, {self.digest[:12]})"


@dataclass(frozen=True)
class TeacherFile:
    """A card and the weights that it speaks of."""

    card: TeacherCard
    weights: Mapping[str, Tensor]


def write_teacher(folder: Path, weights: Mapping[str, Tensor], **card: Any) -> TeacherCard:
    """Write weights and card into ``folder``; the card without its digest comes as keywords."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / WEIGHTS) as temporary:
        save_file({key: value.detach().cpu().contiguous().clone() for key, value in sorted(weights.items())}, temporary)
    written = TeacherCard(digest=file_digest(folder / WEIGHTS), **card)
    write_json(folder / CARD, written.model_dump(mode="json"))
    return written


def read_teacher(folder: Path) -> TeacherFile | None:
    """The teacher in ``folder``; None where there is none (no folder, no card, or a card that says so: ``{"digest": null}``).
    BadModel where the weights are not those of the card."""
    card = read_card(folder)
    if card is None:
        return None
    try:
        digest = file_digest(folder / WEIGHTS)
        if digest != card.digest:
            raise BadModel(
                f"{folder / WEIGHTS} has digest {digest[:12]}, its card says {card.digest[:12]}; fetch the teacher again"
            )
        return TeacherFile(card, _read_safetensors(folder / WEIGHTS))
    except OSError as error:
        raise BadModel(
            f"{folder / WEIGHTS} cannot be read ({type(error).__name__}); run the changeover again to fetch it"
        ) from error


def read_card(folder: Path) -> TeacherCard | None:
    """The card alone, as ``read_teacher``."""
    try:
        found = json.loads((folder / CARD).read_text(encoding="utf-8"))
        if isinstance(found, dict) and found.get("digest", "") is None:
            return None
        return TeacherCard.model_validate(found)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, ValidationError) as error:
        raise BadModel(f"{folder / CARD} is damaged ({type(error).__name__}); delete it and run the changeover again") from error


def import_features(file: Path, backbone: str | None = None) -> tuple[str, dict[str, Tensor]]:
    """The name and the weights of the feature network in ``file``: ``.safetensors``, or what ``torch.save`` writes (``.pth``,
    ``.pt``, ``.bin``, ``.ckpt``), of which nothing but tensors and plain containers is unpickled. ``backbone``: None where it
    is to be found out by the tensors.

    BadModel for files that hold anything else and for weights of another network; BadSettings for an unknown network.
    """
    if backbone is not None:
        feature_network("teacher", backbone, 3, LEVELS)  # a name that nobody knows, before a large file is read
    weights = read_weights(file)
    if backbone is None:
        backbone, weights = recognised(weights, file.name)
    return backbone, feature_weights(weights, backbone, file.name)


def feature_weights(weights: Mapping[str, Tensor], backbone: str, source: str) -> dict[str, Tensor]:
    """What the feature network ``backbone`` needs of ``weights``; BadModel, naming ``source``, where it does not fit or holds
    values that are not finite."""
    state = matched(feature_network("teacher", backbone, 3, LEVELS), weights, source)
    for key, value in state.items():
        if not torch.isfinite(value).all():
            raise BadModel(f"{source}: {key!r} holds values that are not finite; the file is damaged")
    return state


def read_weights(file: Path) -> dict[str, Tensor]:
    """Tensors by name, without the prefixes of training programs and of the containers in which they are kept."""
    if not file.is_file():
        raise BadModel(f"{file} is not a file; give the file that holds the weights")
    if file.suffix == ".safetensors":
        found: Any = _read_safetensors(file)
    else:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch wonders about older pickles; whatever they hold is checked below
                found = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # torch lets every kind through that a damaged file can cause
            raise BadModel(
                f"{file.name} is damaged or holds more than tensors, which may run code when it is read, and is not read; "
                "save the network's state_dict() alone, or convert it to .safetensors where it comes from"
            ) from error
    for container in ("state_dict", "model_state_dict", "model", "state_dict_ema"):
        if isinstance(found, Mapping) and isinstance(found.get(container), Mapping):
            found = found[container]
            break
    if not isinstance(found, Mapping) or not all(isinstance(v, Tensor) and isinstance(k, str) for k, v in found.items()):
        raise BadModel(f"{file.name} holds no table of named tensors; save the network's state_dict()")
    weights = dict(found)
    while prefix := next((p for p in PREFIXES if weights and all(key.startswith(p) for key in weights)), None):
        weights = {key.removeprefix(prefix): value for key, value in weights.items()}
    return weights


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(file))
    except SafetensorError as error:
        raise BadModel(f"{file.name} is not a readable .safetensors file ({str(error)[:100]}); get it again") from error


def teacher_name(text: str) -> str:
    """``text`` as a teacher may be called: an approximation, such as of a hub's name."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:50] or "teacher"
