"""Difference to a good template: the plain way, which every detector that compares with one has to beat."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from core.errors import BadSettings
from models.detectors.detector import Detector, Whole
from models.detectors.template_bank import TemplateBank

FADE = 0.05
"""Confidences by which ``sure`` may be missed; in between the map fades, so that no rounding decides."""


class TemplateDifference(Detector):
    """Lays the best of its templates on an image (``models.detectors.template_bank``) and takes the absolute difference, the
    largest over channels, in spreads of the image's grey values, after a grey opening (Serra 1982) over ``opening`` × ``opening``
    px (odd): what is narrower than that is an edge that lies a little off, or noise. 0 where nothing is compared. Nothing is
    learned. ``search``: how far a part may be shifted, as a share of each side. ``sure``: confidence (0..1) of the registration
    below which nothing is said, and the image is not judged."""

    family = "template_difference"
    trainable = False
    learns_from_good_only = True
    compares_with_template = True

    def __init__(self, channels: int = 1, opening: int = 3, search: float = 0.25, sure: float = 0.7) -> None:
        super().__init__()
        if opening < 1 or opening % 2 == 0 or not 0.0 < sure <= 1.0:
            raise BadSettings(
                f"template_difference.opening {opening} must be odd and above 0, and sure {sure} above 0 and at most 1"
            )
        self.opening, self.sure = opening, sure
        self.bank = TemplateBank(channels, search)

    @torch.no_grad()
    def build_memory_bank(self, good: Iterable[Whole], number: int) -> float:
        """There is nothing to build: the templates are there. The median over ``number`` good images of the largest value of
        their maps; 0 without templates."""
        if self.bank.empty:
            return 0.0
        return float(torch.stack([self(image.seen).max() for image in good]).median())

    @property
    def declines(self) -> bool:
        """Whether it holds templates; without one it takes no part."""
        return not self.bank.empty

    def forward(self, images: Tensor) -> Tensor:
        """(N, 1, H, W), 0 and up."""
        return self._map_and_confidence(images)[0]

    def map_and_judged(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """As of ``Detector``: judged is what was found with a confidence of ``sure`` or more."""
        if not self.declines:
            return self(images), None
        anomaly, confidence = self._map_and_confidence(images)
        return anomaly, confidence >= self.sure

    def _map_and_confidence(self, images: Tensor) -> tuple[Tensor, Tensor]:
        laid = self.bank.laid(images)
        apart = (images - laid.template).abs().amax(1, keepdim=True) * laid.known
        sure = ((laid.confidence - self.sure) / FADE + 1.0).clamp(0.0, 1.0)[:, None, None, None]
        return opened(apart, self.opening) * sure, laid.confidence


def opened(maps: Tensor, side: int) -> Tensor:
    """Grey opening of maps (N, 1, H, W), 0 and up, over squares of ``side`` px: the smallest value around each pixel, and of
    these the largest; beyond the sides nothing is seen."""
    margin = side // 2
    eroded = -F.max_pool2d(-maps, side, stride=1, padding=margin)
    return F.max_pool2d(eroded, side, stride=1, padding=margin)
