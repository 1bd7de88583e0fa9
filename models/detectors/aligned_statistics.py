"""Aligned statistics: what good parts look like at each place, once they lie on top of each other, and how far an image is from
that."""

from collections.abc import Iterable, Sequence
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import BadSettings
from models.detectors.detector import Whole
from models.detectors.loaded_sizes import TakesLoadedSizes
from models.detectors.registration import FLAT, Registration, moments, visible
from models.detectors.template_detector import RegisteringDetector

MOST = 64
"""Good images that are held at once."""
CANDIDATES = 6
"""Good images of which one becomes the reference."""
LEAST = 4
"""Good images that have to show a place before anything is said of it."""
SLACK = 0.25
"""Pixels by which a registration may be wrong: where the picture is steep, that much more spread is expected."""
MIN_SPREAD = 0.02
"""Of grey values whose own spread over the image is 1."""
TO_DEVIATION = 1.4826
"""From the median absolute deviation to the standard deviation of a normal distribution."""
AT_ONCE = 4_000_000
"""Values that are sorted at once."""


def median(stack: Tensor) -> Tensor:
    """Over the first side of ``stack`` (n, C, H, W), NaNs left out, the mean of the middle two where they are even: (C, H, W);
    NaN where nothing is left."""
    rows = max(AT_ONCE // max(stack[:, :, 0].numel(), 1), 1)
    return torch.cat([part.nanquantile(0.5, 0) for part in stack.split(rows, 2)], 1)


class Scale(TakesLoadedSizes):
    """Location and spread of means over squares, at each place of the template's frame. ``stride``: of the squares, in px; their
    side is twice that, or 1 px where it is 1. Of what is shown only in part, the mean is that of the part."""

    location: Tensor  # (1, C, h, w)
    spread: Tensor  # (1, C, h, w)
    covered: Tensor  # (1, 1, h, w), 1 where enough good images were seen

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.register_buffer("location", torch.zeros(1, channels, 8 // stride, 8 // stride))
        self.register_buffer("spread", torch.ones(1, channels, 8 // stride, 8 // stride))
        self.register_buffer("covered", torch.zeros(1, 1, 8 // stride, 8 // stride))

    def means(self, images: Tensor, shown: Tensor) -> tuple[Tensor, Tensor]:
        """Of images (N, C, H, W) over the squares, and how much of each is ``shown`` (0..1)."""
        if self.stride == 1:
            return images, shown
        side, margin = 2 * self.stride, self.stride // 2
        share = F.avg_pool2d(shown, side, self.stride, margin)
        return F.avg_pool2d(images * shown, side, self.stride, margin) / share.clamp(min=FLAT), share

    def take(self, stack: Tensor) -> None:
        """Median, and median absolute deviation times 1.4826, of aligned images (n, C, H, W), NaN where nothing is seen. The
        spread is at least its own median over all places: few images agree by chance in many."""
        shown = (~stack[:, :1].isnan()).to(stack)
        means, share = self.means(stack.nan_to_num(), shown)
        means = torch.where(share > 0.99, means, torch.nan)
        middle = median(means)
        spread = TO_DEVIATION * median((means - middle).abs())
        covered = (share > 0.99).sum(0, keepdim=True) >= max(LEAST, len(stack) / 2)
        known = spread[:, covered[0, 0]]
        self.covered = covered.to(stack)
        self.location = torch.where(covered, middle, 0.0)
        floor = float(known.median()) if known.numel() else 1.0
        spread = (spread.square() + (SLACK * self._slope()).square()).sqrt().clamp(min=max(floor, MIN_SPREAD))
        self.spread = torch.where(covered, spread, 1.0)

    def _slope(self) -> Tensor:
        """How steep the location is, per px; 0 at the rim of what is covered."""
        away = 1.0 - F.max_pool2d(F.pad(1.0 - self.covered, (1,) * 4, value=1.0), 3, stride=1)
        along = [(self.location.roll(-1, side) - self.location.roll(1, side)) / (2 * self.stride) for side in (2, 3)]
        return torch.hypot(*along) * away

    def distances(self, images: Tensor, shown: Tensor) -> Tensor:
        """How many spreads aligned images (N, C, H, W) are from the location, the largest over channels, (N, 1, H, W); 0 where
        nothing is known."""
        means, share = self.means(images, shown)
        known = (10.0 * share - 9.0).clamp(0.0, 1.0) * self.covered
        distance = ((means - self.location).abs() / self.spread).amax(1, keepdim=True) * known
        return (
            distance
            if self.stride == 1
            else F.interpolate(distance, scale_factor=self.stride, mode="bilinear", align_corners=False)
        )


class AlignedStatistics(RegisteringDetector):
    """Lays each image on a reference (``models.detectors.registration``) and compares it, place by place, with what good images
    show there: the map is the largest distance from their median, in robust standard deviations, over squares of 1, 4 and 8 px
    (``strides`` 1, 2 and 4), brought back to where the part lies in the image.

    It says nothing where nothing can be said: beyond what the good images show, where the part was not found with a confidence
    of ``sure`` (0..1), and everywhere where fewer than half of the good images, or fewer than four, could be laid on the best
    reference. The map then has its resting value, the median of the map over good images. An image whose part was not found is
    not judged, unless no good images could be laid on each other: then it takes no part. A part that is turned by more than
    a few degrees, mirrored, or shifted by more than ``search`` of the side is not found; test-time flips are of no use.

    The template is as large as the reference and not of a fixed side: thin defects would be lost in a smaller one, and one of
    another shape would be distorted. Its buffers take their size from the state that is loaded (``TakesLoadedSizes``).
    """

    family = "aligned_statistics"
    trainable = False
    learns_from_good_only = True
    registers: ClassVar[type[Registration]] = Registration
    """What lays images on the reference."""
    rest: Tensor

    def __init__(self, channels: int = 1, search: float = 0.25, sure: float = 0.7, strides: Sequence[int] = (1, 2, 4)) -> None:
        super().__init__()
        if not 0.0 < sure <= 1.0 or not strides or strides[0] != 1 or not set(strides) <= {1, 2, 4, 8}:
            raise BadSettings(
                f"aligned_statistics.sure {sure} must be above 0 and at most 1, and strides {tuple(strides)} 1 and then 2, 4 or 8"
            )
        self.channels, self.search, self.sure, self.strides = channels, search, sure, tuple(strides)
        self.register_buffer("rest", torch.zeros(()))
        self._forget()

    def _forget(self) -> None:
        self.registration = self.registers(self.search).to(self.rest.device)
        self.scales = nn.ModuleList(Scale(self.channels, stride) for stride in self.strides).to(self.rest.device)
        self.rest.zero_()

    @torch.no_grad()
    def build_memory_bank(self, good: Iterable[Whole], number: int) -> float:
        """Take in ``number`` whole good images, 64 of them at most, evenly chosen; of each only what can be laid on the reference
        with confidence. The median over these of the largest value of their maps; 0 where nothing can be compared."""
        self._forget()
        chosen = _evenly(number, MOST)
        images = [image.seen for place, image in enumerate(good) if place in chosen]
        reference = self._reference(images)
        self.registration.hold(reference)
        inside = visible(reference)
        stack: list[Tensor] = []
        for place in range(len(images)):
            image, images[place] = images[place], images[place][:0]  # not held twice
            found = self.registration(image)
            if float(found.confidence) >= self.sure:
                shown = found.warped(visible(image)) * inside
                matched = _matched(found.warped(image), shown, reference)
                stack.append(torch.where(shown > 0.99, matched, torch.nan))
        if len(stack) < max(LEAST, len(images) / 2):
            self._forget()
            return 0.0
        aligned = torch.cat(stack)
        stack.clear()
        for scale in self._scales():
            scale.take(aligned)
        maps = [self._distances(one.nan_to_num(), (~one[:, :1].isnan()).to(one)) for one in aligned.split(1)]
        known = [one[0, 0][self._scales()[0].covered[0, 0] > 0] for one in maps]
        self.rest.copy_(torch.stack([one.median() for one in known]).median())
        return float(torch.stack([one.max() for one in known]).median())

    def _reference(self, images: Sequence[Tensor]) -> Tensor:
        """The image that others match best, of a few, evenly chosen; the first of equals."""
        few = [images[place] for place in sorted(_evenly(len(images), CANDIDATES))]
        best, reference = -1.0, few[0]
        for number, candidate in enumerate(few):
            self.registration.hold(candidate)
            others = few[:number] + few[number + 1 :]
            match = sum(float(self.registration(other).confidence) for other in others)
            if match > best + 1e-4:
                best, reference = match, candidate
        return reference.clone()

    def _scales(self) -> list[Scale]:
        return list(cast("Iterable[Scale]", self.scales))

    def _distances(self, aligned: Tensor, shown: Tensor) -> Tensor:
        """The map (N, 1, H, W) in the template's frame."""
        return torch.stack([scale.distances(aligned, shown) for scale in self._scales()]).amax(0)

    @property
    def declines(self) -> bool:
        """Whether it holds a template: without one it takes no part, and nothing waits for its judgement."""
        return bool(self._scales()[0].covered.any())

    def compared(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """As of ``RegisteringDetector``: robust standard deviations from what good images show, 0 and up; ``rest`` where nothing
        can be said."""
        finest, found = self._scales()[0], self.registration(images)
        shown = found.warped(visible(images)) * finest.covered
        aligned = _matched(found.warped(images), shown, finest.location)
        known = (10.0 * shown - 9.0).clamp(0.0, 1.0)
        said = found.back((self._distances(aligned, shown) - self.rest) * known, images)
        return self.rest + said * self.weight(found.confidence), found.confidence


def _evenly(number: int, most: int) -> set[int]:
    """At most ``most`` of ``number`` places, from the first to the last."""
    return {round(place * (number - 1) / max(most - 1, 1)) for place in range(most)} if number > most else set(range(number))


def _matched(aligned: Tensor, shown: Tensor, reference: Tensor) -> Tensor:
    """Aligned images (N, C, H, W) with the brightness and contrast that ``reference`` has where they are ``shown``."""
    (mean, spread), (wanted_mean, wanted_spread) = moments(aligned, shown), moments(reference, shown)
    return (aligned - mean) / spread.clamp(min=FLAT) * wanted_spread + wanted_mean
