"""Detectors that lay an image on something known of good parts first, and cannot judge one in which the part is not found."""

from abc import abstractmethod

from torch import Tensor

from models.detectors.detector import Detector
from models.detectors.template_bank import TemplateBank

FADE = 0.05
"""Confidences by which ``sure`` may be missed; in between the map fades, so that no rounding decides."""


class RegisteringDetector(Detector):
    """Base of detectors whose map rests on a registration. ``sure``: confidence (0..1) from which on an image is judged."""

    sure: float

    @abstractmethod
    def compared(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The map (N, 1, H, W), and the confidence (N,) of the registration, 0..1, by which it is weighed (``weight``)."""

    def weight(self, confidence: Tensor) -> Tensor:
        """How much is said at a ``confidence`` (N,): 0..1, (N, 1, 1, 1)."""
        return ((confidence - self.sure) / FADE + 1.0).clamp(0.0, 1.0)[:, None, None, None]

    def forward(self, images: Tensor) -> Tensor:
        """As of ``Detector``; a resting value where nothing can be said."""
        return self.compared(images)[0]

    def map_and_judged(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Judged is what was found with a confidence of ``sure`` or more: of that the map has its full weight. What is missed by
        less than ``FADE`` still has a weaker map, and is not judged."""
        if not self.declines:
            return self(images), None
        anomaly, confidence = self.compared(images)
        return anomaly, confidence >= self.sure


class TemplateDetector(RegisteringDetector):
    """Base of detectors that compare with the best of several templates. ``bank``: the templates; training fills it."""

    bank: TemplateBank

    @property
    def declines(self) -> bool:
        """Whether it holds templates; without one it takes no part."""
        return not self.bank.empty
