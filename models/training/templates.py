"""Which good images become templates, and what each training image is paired with."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.detectors.registration import Registration
from models.detectors.template_bank import TemplateBank
from models.inspection.inspector import MARGIN, whole_as_seen
from models.inspection.preprocess import statistics

Image = NDArray[np.uint8]

MOST = 4
"""Templates that are chosen out of good images."""
CANDIDATES = 12
"""Good images that may become templates."""
LEAST = 4
"""Good images that have to match a template of another image before templates are of use."""
WORTH = 0.02
"""What a further template has to add to the confidence of the mean image."""


@dataclass(frozen=True)
class Pairs:
    """``bank``: the templates. ``partners``: for each image, in its own light, the template that it was laid on, and its own
    pixels where that shows nothing. ``matched``: how many images were laid on another one."""

    bank: TemplateBank
    partners: list[Image]
    matched: int

    @property
    def templates(self) -> int:
        """How many there are."""
        return 0 if self.bank.empty else len(self.bank.pictures)


@torch.no_grad()
def pairs_of(images: Sequence[Image], bank: TemplateBank, sure: float, templates: Sequence[Image] = ()) -> Pairs:
    """Fill ``bank`` (fresh) with ``templates``, or with up to four of ``images`` (H, W, C) that most others match, and lay the
    best on each image. It is left empty where fewer than half of the images, or fewer than four, match one of another image with
    a confidence of ``sure``; given templates stay. An image is never laid on itself, unless it was given as a template."""
    seen = [whole_as_seen(image) for image in images]
    chosen: list[int] = []
    if templates:
        bank.hold(torch.cat([whole_as_seen(template) for template in templates]))
    else:
        chosen = _chosen(seen, bank.registration.search, sure)
        if not chosen:
            return Pairs(bank, list(images), 0)
        bank.hold(torch.cat([seen[number] for number in chosen]))
    partners, matched = [], 0
    for number, image in enumerate(images):
        own = chosen.index(number) if number in chosen else None
        if own is not None and len(chosen) == 1:
            partners.append(image)
            continue
        laid = bank.laid(seen[number], own)
        if float(laid.confidence) < sure:
            partners.append(image)
            continue
        matched += 1
        partners.append(_as_pixels(laid.template, image))
    if not templates and matched < max(LEAST, len(images) / 2):
        return Pairs(TemplateBank(bank.pictures.shape[1], bank.registration.search), list(images), matched)
    return Pairs(bank, partners, matched)


def _chosen(seen: Sequence[Tensor], search: float, sure: float) -> list[int]:
    """Numbers of images that become templates: of a few, evenly chosen and of the commonest size, the one that the others match
    best, then each that improves the best match of the mean image most."""
    sizes = [tuple(one.shape) for one in seen]
    size = max(sizes, key=sizes.count)
    alike = [number for number, own in enumerate(sizes) if own == size]
    few = [alike[i] for i in np.unique(np.linspace(0, len(alike) - 1, min(CANDIDATES, len(alike))).astype(int))]
    match = np.zeros((len(few), len(few)))  # a part that lies on another is one on which that lies: each pair is laid once
    registration = Registration(search)
    for column, template in enumerate(few):
        registration.hold(seen[template])
        for row in range(column):
            confidence = float(registration(seen[few[row]]).confidence)
            match[row, column] = match[column, row] = confidence if confidence >= sure else 0.0
    taken: list[int] = []
    best = np.zeros(len(few))
    while len(taken) < MOST:
        gains = [np.maximum(best, match[:, column]).mean() - best.mean() for column in range(len(few))]
        column = int(np.argmax(gains))
        if gains[column] < WORTH:
            break
        taken.append(column)
        best = np.maximum(best, match[:, column])
    return [few[column] for column in taken]


def _as_pixels(template: Tensor, image: Image) -> Image:
    """A template (1, C, H, W) as detectors see it, without its margins, in the light of ``image``."""
    height, width = image.shape[:2]
    mean, spread = statistics(image)
    inside = template[0, :, MARGIN : MARGIN + height, MARGIN : MARGIN + width].permute(1, 2, 0).numpy()
    return np.asarray(np.clip(np.rint(255.0 * (inside * spread + mean)), 0, 255), np.uint8)
