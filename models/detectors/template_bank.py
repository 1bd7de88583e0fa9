"""Good templates that a detector holds, and how the best of them is laid on an image."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.detectors.loaded_sizes import TakesLoadedSizes
from models.detectors.registration import FLAT, Registration, moments, visible


@dataclass(frozen=True)
class Laid:
    """The best template as it lies on each of N images. ``template`` (N, C, H, W): in the image's light; the image itself where
    the template shows nothing. ``known`` (N, 1, H, W): how far it shows something, 0..1. ``confidence`` (N,), 0..1: of the
    registration."""

    template: Tensor
    known: Tensor
    confidence: Tensor


class TemplateBank(TakesLoadedSizes):
    """K templates of one size. Until it ``holds`` some, nothing is known of any image. ``search``: as of ``Registration``."""

    counted = True
    pictures: Tensor  # (K, C, H, W)

    def __init__(self, channels: int, search: float) -> None:
        super().__init__()
        self.registration = Registration(search)
        self.register_buffer("pictures", torch.zeros(1, channels, 8, 8))

    @torch.no_grad()
    def hold(self, pictures: Tensor) -> None:
        """Take templates (K, C, H, W) as detectors see them: with margins, their sides multiples of 32."""
        self.registration.hold(pictures)
        self.pictures = pictures.clone()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to compare with."""
        return not bool(self.registration.shown.any())

    def shown(self) -> list[NDArray[np.uint8]]:
        """Pictures of the templates (H, W, C), without their margins, from their darkest pixel to their brightest."""
        if self.empty:
            return []
        found = []
        for picture in self.pictures:
            seen = visible(picture[None])[0, 0] > 0
            rows, columns = (int(seen.any(side).sum()) for side in (1, 0))
            top, left = (int(seen.any(side).int().argmax()) for side in (1, 0))
            inside = picture[:, top : top + rows, left : left + columns]
            grey = (inside - inside.min()) / (inside.max() - inside.min()).clamp(min=FLAT)
            found.append((255 * grey).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy())
        return found

    def laid(self, images: Tensor, but: int | None = None) -> Laid:
        """The best template on images (N, C, H, W), their sides multiples of 32; ``but``: the number of one that is not taken."""
        found = self.registration(images, but)
        # One template is cut out of none: the exported file stays as simple as that.
        picture = self.pictures if len(self.pictures) == 1 else self.pictures.index_select(0, found.chosen)
        picture = picture.expand(len(images), -1, -1, -1)
        channels = picture.shape[1]
        template, inside = found.back(torch.cat([picture, visible(picture)], 1), images).split((channels, 1), 1)
        shown = inside * visible(images)
        known = (10.0 * shown - 9.0).clamp(0.0, 1.0)
        (mean, spread), (wanted_mean, wanted_spread) = moments(template, known), moments(images, known)
        lit = (template - mean) / spread.clamp(min=FLAT) * wanted_spread + wanted_mean
        return Laid(images + (lit - images) * known, known, found.confidence)
