"""Every network that settings can name: its detector, what it is built with, and what a study tries of it.

The Chinese-language competition report on defect detection from good samples (seed ``002``) gives four of them with these
figures: U-Net 17.51 M parameters, 11.85 GMac at 128 × 128; Tiny U-Net 4.38 M, 2.98 GMac; UNet 3+ 27.5 M, 49.58 GMac; UNet 3+ on
EfficientNet-b1 7.74 M, 6.11 GMac. The others are our own, cheaper ones."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from core.errors import BadSettings

if TYPE_CHECKING:
    from models.detectors.detector import Detector

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
    """``place``: module and class of its detector, which says its family, its kind and whether it takes a teacher. ``settings``:
    of its constructor, beside ``channels``. ``defaults``: trials that a study makes first; the first of them is what is trained
    where nothing is tried. ``learning_rates``: lowest and highest that a study tries.

    The class is imported where it is used, so that settings are checked without PyTorch.
    """

    place: str
    settings: dict[str, Any] = field(default_factory=dict)
    defaults: tuple[Trial, ...] = ({},)
    learning_rates: tuple[float, float] = (2e-3, 1e-2)

    @property
    def detector(self) -> "type[Detector]":
        """The class."""
        module, _, name = self.place.partition(":")
        found: type[Detector] = getattr(import_module(module), name)
        return found


NETWORKS: dict[str, Network] = {
    "unet3plus": Network("models.detectors.unet3plus:UNet3Plus", {"encoder": "tu-regnetx_002", "depth": 4, "width": 8}, DRAWN),
    "unet": Network("models.detectors.unet:UNet", {"encoder": "plain64", "widths": (384, 256, 128, 64)}, DRAWN),
    "tiny_unet": Network("models.detectors.unet:UNet", {"encoder": "plain32", "widths": (192, 128, 64, 32)}, DRAWN),
    "unetplusplus": Network(
        "models.detectors.unet:UNet", {"encoder": "resnet18", "depth": 4, "widths": (128, 64, 32, 16), "dense": True}, DRAWN
    ),
    "unet3plus_paper": Network(
        "models.detectors.unet3plus:UNet3Plus", {"encoder": "plain64x16", "depth": 5, "width": 64, "enlarge_first": True}, DRAWN
    ),
    "unet3plus_b1": Network(
        "models.detectors.unet3plus:UNet3Plus",
        {"encoder": "efficientnet-b1", "depth": 5, "width": 27, "finish": "stage", "enlarge_first": True},
        DRAWN,
    ),
    "stpm": Network("models.detectors.stpm:Stpm", {"backbone": "resnet10t"}, STUDENT, (5e-4, 5e-3)),
    "patchcore": Network("models.detectors.patchcore:PatchCore", {"backbone": "resnet10t"}),
    "patchcore_deep": Network("models.detectors.patchcore:PatchCore", {"backbone": "resnet10t", "levels": (3, 4)}),
    "rstpm": Network("models.detectors.rstpm:Rstpm", {"backbone": "resnet10t"}, STUDENT, (5e-4, 5e-3)),
    "denoising_student": Network(
        "models.detectors.denoising_student:DenoisingStudent", {"backbone": "resnet10t"}, DRAWN[:1], (1e-3, 1e-2)
    ),
    "uninformed_students": Network("models.detectors.uninformed_students:UninformedStudents", {}, STUDENT, (5e-4, 5e-3)),
    "siam_nested_unet": Network(
        "models.detectors.siam_nested_unet:SiamNestedUNet",
        {"encoder": "tu-regnetx_002", "depth": 4, "widths": (16, 24, 40)},
        DRAWN,
    ),
    "template_difference": Network("models.detectors.template_difference:TemplateDifference"),
    "aligned_statistics": Network("models.detectors.aligned_statistics:AlignedStatistics", {"search": 0.25, "sure": 0.7}),
}


@cache
def families() -> "dict[str, type[Detector]]":
    """Every family by the name that weight files and records give it."""
    detectors = [network.detector for network in NETWORKS.values()]
    return {detector.family: detector for detector in detectors}


def build_detector(family: str, channels: int, settings: Mapping[str, Any]) -> "Detector":
    """A fresh detector of ``family`` for ``channels`` (1 or 3) input channels; BadSettings for an unknown name or setting."""
    known = families()
    if family not in known:
        raise BadSettings(f"detector {family!r} is not one of {', '.join(sorted(known))}")
    try:
        return known[family](channels=channels, **settings)
    except TypeError as error:
        raise BadSettings(f"detector {family} does not take the settings {dict(settings)}: {error}") from error
