"""Difference to a good template: the plain way, which every detector that compares with one has to beat."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from core.errors import BadSettings
from models.detectors.detector import Whole
from models.detectors.template_bank import TemplateBank
from models.detectors.template_detector import TemplateDetector


class TemplateDifference(TemplateDetector):
    """Lays the best of its templates on an image (``models.detectors.template_bank``) and takes how far each pixel is from all
    that the template shows within ``tolerance`` px (0..4) of it, the largest over channels, in spreads of the image's grey
    values: prints and castings are a pixel off here and there, where the part as a whole lies right.

    A grey opening (Serra 1982) over ``opening`` × ``opening`` px (odd) takes away what is narrower than that. 0 where nothing is
    compared. Nothing is learned. ``search``: how far a part may be shifted, as a share of each side. ``sure``: confidence (0..1)
    of the registration below which nothing is said, and the image is not judged."""

    family = "template_difference"
    trainable = False
    learns_from_good_only = True

    def __init__(self, channels: int = 1, tolerance: int = 1, opening: int = 3, search: float = 0.25, sure: float = 0.7) -> None:
        super().__init__()
        if not 0 <= tolerance <= 4 or opening < 1 or opening % 2 == 0 or not 0.0 < sure <= 1.0:
            raise BadSettings(
                f"template_difference.tolerance {tolerance} must be 0 to 4, opening {opening} odd and above 0, and sure {sure} "
                "above 0 and at most 1"
            )
        self.tolerance, self.opening, self.sure = tolerance, opening, sure
        self.bank = TemplateBank(channels, search)

    @torch.no_grad()
    def build_memory_bank(self, good: Iterable[Whole], number: int) -> float:
        """There is nothing to build: the templates are there. The median over ``number`` good images of the largest value of
        their maps; 0 without templates."""
        if self.bank.empty:
            return 0.0
        return float(torch.stack([self(image.seen).max() for image in good]).median())

    def compared(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """As of ``RegisteringDetector``, 0 and up."""
        laid = self.bank.laid(images)
        return self.apart(images, laid.template) * laid.known * self.weight(laid.confidence), laid.confidence

    def apart(self, images: Tensor, templates: Tensor) -> Tensor:
        """How far images (N, C, H, W) are from templates that lie on them, (N, 1, H, W), 0 and up."""
        side = 2 * self.tolerance + 1
        brightest = F.max_pool2d(templates, side, stride=1, padding=self.tolerance)
        darkest = -F.max_pool2d(-templates, side, stride=1, padding=self.tolerance)
        beyond = torch.maximum(images - brightest, darkest - images).clamp(min=0.0)
        return opened(beyond.amax(1, keepdim=True), self.opening)


def opened(maps: Tensor, side: int) -> Tensor:
    """Grey opening of maps (N, 1, H, W), 0 and up, over squares of ``side`` px: the smallest value around each pixel, and of
    these the largest; beyond the sides nothing is seen."""
    margin = side // 2
    eroded = -F.max_pool2d(-maps, side, stride=1, padding=margin)
    return F.max_pool2d(eroded, side, stride=1, padding=margin)
