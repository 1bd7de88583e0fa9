"""Every network that settings can name: its detector, what it is built with, and what a study tries of it.

The Chinese-language competition report on defect detection from good samples (seed ``002``) gives four of them with these
figures: U-Net 17.51 M parameters, 11.85 GMac at 128 × 128; Tiny U-Net 4.38 M, 2.98 GMac; UNet 3+ 27.5 M, 49.58 GMac; UNet 3+ on
EfficientNet-b1 7.74 M, 6.11 GMac. The others are our own, cheaper ones."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from core.errors import BadSettings
from models.detectors.denoising_student import DenoisingStudent
from models.detectors.detector import Detector
from models.detectors.patchcore import PatchCore
from models.detectors.rstpm import Rstpm
from models.detectors.stpm import Stpm
from models.detectors.unet import UNet
from models.detectors.unet3plus import UNet3Plus
from models.detectors.uninformed_students import UninformedStudents

Trial = Mapping[str, Any]
"""Parameters of one network: ``learning_rate``, ``schedule`` (``models.training.curriculum``), ``mix``
(``models.training.trial``); which of them there are depends on what the detector learns from."""

DRAWN: tuple[Trial, ...] = (
    {"learning_rate": 5e-3, "schedule": "linear", "mix": "all"},
    {"learning_rate": 5e-3, "schedule": "linear", "mix": "drawn"},
)
STUDENT: tuple[Trial, ...] = ({"learning_rate": 2e-3},)


@dataclass(frozen=True)
class Network:
    """``detector``: its class, which says its family, its kind and whether it takes a teacher. ``settings``: of its constructor,
    beside ``channels``. ``defaults``: trials that a study makes first; the first of them is what is trained where nothing is
    tried. ``learning_rates``: lowest and highest that a study tries."""

    detector: type[Detector]
    settings: dict[str, Any] = field(default_factory=dict)
    defaults: tuple[Trial, ...] = ({},)
    learning_rates: tuple[float, float] = (2e-3, 1e-2)


NETWORKS: dict[str, Network] = {
    "unet3plus": Network(UNet3Plus, {"encoder": "tu-regnetx_002", "depth": 4, "width": 8}, DRAWN),
    "unet": Network(UNet, {"encoder": "plain64", "widths": (384, 256, 128, 64)}, DRAWN),
    "tiny_unet": Network(UNet, {"encoder": "plain32", "widths": (192, 128, 64, 32)}, DRAWN),
    "unetplusplus": Network(UNet, {"encoder": "resnet18", "depth": 4, "widths": (128, 64, 32, 16), "dense": True}, DRAWN),
    "unet3plus_paper": Network(UNet3Plus, {"encoder": "plain64x16", "depth": 5, "width": 64, "enlarge_first": True}, DRAWN),
    "unet3plus_b1": Network(
        UNet3Plus, {"encoder": "efficientnet-b1", "depth": 5, "width": 27, "finish": "stage", "enlarge_first": True}, DRAWN
    ),
    "stpm": Network(Stpm, {"backbone": "resnet10t"}, STUDENT, (5e-4, 5e-3)),
    "patchcore": Network(PatchCore, {"backbone": "resnet10t"}),
    "patchcore_deep": Network(PatchCore, {"backbone": "resnet10t", "levels": (3, 4)}),
    "rstpm": Network(Rstpm, {"backbone": "resnet10t"}, STUDENT, (5e-4, 5e-3)),
    "denoising_student": Network(DenoisingStudent, {"backbone": "resnet10t"}, DRAWN[:1], (1e-3, 1e-2)),
    "uninformed_students": Network(UninformedStudents, {}, STUDENT, (5e-4, 5e-3)),
}

FAMILIES: dict[str, type[Detector]] = {network.detector.family: network.detector for network in NETWORKS.values()}
"""Every family by the name that weight files and records give it."""


def build_detector(family: str, channels: int, settings: Mapping[str, Any]) -> Detector:
    """A fresh detector of ``family`` for ``channels`` (1 or 3) input channels; BadSettings for an unknown name or setting."""
    if family not in FAMILIES:
        raise BadSettings(f"detector {family!r} is not one of {', '.join(sorted(FAMILIES))}")
    try:
        return FAMILIES[family](channels=channels, **settings)
    except TypeError as error:
        raise BadSettings(f"detector {family} does not take the settings {dict(settings)}: {error}") from error
