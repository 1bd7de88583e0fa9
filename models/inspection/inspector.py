"""The inspector: detectors with everything around them, from camera pixels to a verdict. It alone is evaluated, exported and
shipped."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce as joined
from typing import cast, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from core.errors import BadSettings
from models.detectors.detector import Detector, Kind
from models.inspection.preprocess import normalise, reduce, resize
from models.inspection.region import Region

STRIDE = 32
MARGIN = 16
"""Pixels beyond an image's sides that detectors see."""
MIN_SPREAD = 1e-2
USUAL_SPREAD, USUAL_WEIGHT = 0.3, 4
"""The usual standard deviation of a map's largest value over good images, in units of its distance from the map's median (.23 to
.47 over five detectors and 40 magnetic tiles), and how many images that counts as."""
EVERY = 0
"""View of a pooling that reads the detectors of all of them."""


@dataclass(frozen=True)
class MapPooling:
    """One way to read a view's maps: reduced ``pool`` times, then averaged over a square of ``side`` (odd) of those pixels.

    A small square finds what is small, a wide one what is faint and wide. ``view``: the reduction of the detectors it reads, or
    ``EVERY``, for those of all views, each brought to the pixels of working scale. ``kind``: of the detectors it reads
    (``models.detectors.detector.Kind``), "" for all of that view. ``share``: what segmentation networks weigh (0..1) where both
    kinds are read."""

    view: int = 1
    pool: int = 1
    side: int = 5
    kind: str = ""
    share: float = 0.5

    def __post_init__(self) -> None:
        if self.view < EVERY or self.pool < 1 or self.side < 1 or self.side % 2 == 0:
            raise BadSettings(f"pooling {vars(self)} must have a view of {EVERY} or more, a pool of 1 or more and an odd side")
        if self.kind not in ("", *get_args(Kind)):
            raise BadSettings(f"pooling {vars(self)} must have the kind {' or '.join(get_args(Kind))}, or none for all detectors")
        if not 0.0 <= self.share <= 1.0:
            raise BadSettings(f"pooling {vars(self)} must have a share of 0..1")

    def __str__(self) -> str:
        view = "all views" if self.view == EVERY else f"1/{self.view}"
        return f"{self.kind} {view} over {self.pool * self.side} px".strip()

    @property
    def unit(self) -> int:
        """Side, in px of working scale, of the pixels that it averages over."""
        return max(self.view, 1) * self.pool


class Inspector(nn.Module):
    """Pre-processing, detectors, test-time flips, fusion, smoothing, score and threshold in one module.

    ``reductions``: of each detector's view (see ``models.training.view``). ``poolings``: how their maps are read. A pooling
    averages the maps of its detectors, those of its view and kind: first within each kind, then over the kinds by its share.
    Maps are in units of ``centres`` and ``spreads``, mean and standard deviation of their largest values over good tuning
    images. The largest of the poolings counts: what is seen at one size need not be seen at another. ``flips``: 1 (as it is), 2
    (+ left-right) or 4 (+ both). The score is the largest value of the fused map.

    An image is judged if every detector that is read can judge it, for the threshold rests on all of them; what is not judged is
    rejected. Whether a detector can is asked of the image as it is: flips only average maps."""

    def __init__(
        self,
        detectors: list[Detector],
        scale: float,
        reductions: Sequence[int] = (),
        poolings: Sequence[MapPooling] = (),
        flips: int = 1,
        region: Region | None = None,
    ) -> None:
        super().__init__()
        self.reductions = tuple(reductions) or (1,) * len(detectors)
        self.kinds = tuple(detector.kind for detector in detectors)
        self.poolings = tuple(poolings) or tuple(MapPooling(view) for view in sorted(set(self.reductions)))
        unread = [pooling for pooling in self.poolings if not self.members(pooling)]
        if flips not in (1, 2, 4) or len(self.reductions) != len(detectors) or unread:
            raise BadSettings(
                f"inspector: flips {flips} must be 1, 2 or 4, reductions {self.reductions} one for each of {len(detectors)} "
                f"detectors, and no pooling of what no detector gives ({', '.join(map(str, unread)) or 'none'})"
            )
        self.detectors = nn.ModuleList(detectors)
        self.scale, self.flips = scale, flips
        self.region = region or Region()
        self.centres: Tensor
        self.spreads: Tensor
        self.threshold: Tensor
        self.register_buffer("centres", torch.zeros(len(self.poolings), len(detectors)))
        self.register_buffer("spreads", torch.ones(len(self.poolings), len(detectors)))
        # Without a threshold every part is rejected. No other constant of the graph has this value, so none is merged with it.
        self.register_buffer("threshold", torch.tensor(float("-inf")))

    def working(self, images: Tensor) -> Tensor:
        """uint8 (N, H, W, C) to float (N, C, h, w) in 0..1 at working scale."""
        return resize(images.permute(0, 3, 1, 2).float() / 255.0, self.scale)

    @property
    def declines(self) -> bool:
        """Whether it may say of an image that it cannot judge it; it then has a fourth output."""
        return bool(self._declining())

    def _declining(self) -> list[int]:
        """Numbers of the detectors that may, of those that any pooling reads."""
        read = {number for pooling in self.poolings for number in self.members(pooling)}
        return sorted(number for number in read if cast("Detector", self.detectors[number]).declines)

    def raw_map(self, number: int, working: Tensor) -> Tensor:
        """Map (N, 1, h', w') of one detector on images at working scale, in its view's px, averaged over flips."""
        return self.raw_map_and_judged(number, working)[0]

    def raw_map_and_judged(self, number: int, working: Tensor) -> tuple[Tensor, Tensor | None]:
        """As ``raw_map``, and whether the detector could judge each image, bool (N,), None where it judges all."""
        view = reduce(working, self.reductions[number])
        height, width = view.shape[-2], view.shape[-1]
        x = as_seen(view)
        detector = cast("Detector", self.detectors[number])
        flips: list[tuple[int, ...]] = [(), (3,), (2,), (2, 3)][: self.flips]
        as_it_is, judged = detector.map_and_judged(x)
        seen = [detector(torch.flip(x, f)).flip(f) if f else as_it_is for f in flips]
        mean = torch.stack(seen).mean(0) if len(seen) > 1 else seen[0]
        return mean[:, :, MARGIN : MARGIN + height, MARGIN : MARGIN + width], judged

    def members(self, pooling: MapPooling) -> list[int]:
        """Numbers of the detectors that ``pooling`` reads."""
        seen = enumerate(zip(self.reductions, self.kinds, strict=False))  # of unlike lengths only until refused
        return [n for n, (reduction, kind) in seen if pooling.view in (EVERY, reduction) and pooling.kind in ("", kind)]

    def seen_by(self, pooling: MapPooling, number: int, raw: Tensor, height: int, width: int) -> Tensor:
        """The raw map of detector ``number`` as ``pooling`` reads it, of images of ``height`` and ``width`` at working scale."""
        if pooling.view == EVERY:
            raw = enlarge(raw, self.reductions[number], height, width)
        return pool_map(pooling, raw)

    def fused(self, raw: Sequence[Tensor], height: int, width: int) -> Tensor:
        """One map (N, 1, height, width) at working scale out of each detector's raw map."""
        found: list[Tensor] = []
        for row, pooling in enumerate(self.poolings):
            by_kind: dict[str, list[Tensor]] = {}
            for number in self.members(pooling):
                seen = self.seen_by(pooling, number, raw[number], height, width)
                standard = (seen - self.centres[row, number]) / self.spreads[row, number]
                by_kind.setdefault(self.kinds[number], []).append(standard)
            means = {kind: _mean(maps) for kind, maps in by_kind.items()}
            one = (
                pooling.share * means["segmentation"] + (1.0 - pooling.share) * means["feature_distance"]
                if len(means) > 1
                else next(iter(means.values()))
            )
            found.append(enlarge(one, pooling.unit, height, width))
        return torch.stack(found).amax(0) if len(found) > 1 else found[0]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """uint8 (N, H, W, C) to map (N, H, W), score (N,) and verdict bool (N,): True rejects. Where it ``declines``, a fourth:
        judged, bool (N,); the verdict of what is not judged is True, whatever its score."""
        working = self.working(images)
        seen = [self.raw_map_and_judged(number, working) for number in range(len(self.detectors))]
        fused = self.fused([raw for raw, _ in seen], working.shape[-2], working.shape[-1])
        if self.scale != 1.0:
            fused = F.interpolate(fused, size=(images.shape[1], images.shape[2]), mode="bilinear", align_corners=False)
        full = self._inside_region(fused[:, 0])
        score = full.flatten(1).amax(1)
        verdict = score > self.threshold
        said = [judged for judged in (seen[number][1] for number in self._declining()) if judged is not None]
        if not said:
            return full, score, verdict
        judged = joined(torch.logical_and, said)
        return full, score, torch.logical_or(verdict, torch.logical_not(judged)), judged

    def _inside_region(self, full: Tensor) -> Tensor:
        if self.region.whole:
            return full
        height, width = full.shape[1], full.shape[2]
        rows, columns = (torch.arange(side).to(full) / side for side in (height, width))
        inside = self.region.inside(rows, columns, height, width)
        floor = full.flatten(1).amin(1)[:, None, None]
        return torch.where(inside[None], full, floor)


def _mean(maps: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(maps)).mean(0) if len(maps) > 1 else maps[0]


def enlarge(maps: Tensor, factor: int, height: int, width: int) -> Tensor:
    """Maps (N, 1, h, w) of pixels of side ``factor`` to (N, 1, height, width), interpolated."""
    if factor == 1:
        return maps
    return F.interpolate(maps, scale_factor=factor, mode="bilinear", align_corners=False)[:, :, :height, :width]


def as_seen(view: Tensor) -> Tensor:
    """Whole images (N, C, h, w) in 0..1 as detectors see them: normalised, with a margin, at sizes that are multiples of 32."""
    x = normalise(view)
    height, width = x.shape[-2], x.shape[-1]
    # Zeros, the mean, are what training crops show beyond an image's sides.
    right, bottom = MARGIN + (-width - 2 * MARGIN) % STRIDE, MARGIN + (-height - 2 * MARGIN) % STRIDE
    return F.pad(x, (MARGIN, right, MARGIN, bottom))


def whole_as_seen(image: NDArray[np.uint8], device: torch.device | None = None) -> Tensor:
    """One image (H, W, C) at working scale, as detectors see it: (1, C, h, w), on ``device``."""
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].to(device)
    return as_seen(pixels.float() / 255.0)


@torch.no_grad()
def raw_maps(inspector: Inspector, image: NDArray[np.uint8]) -> list[Tensor]:
    """The raw map of every detector for one image (H, W, C)."""
    working = inspector.working(torch.from_numpy(image)[None].to(inspector.centres.device))
    return [inspector.raw_map(number, working) for number in range(len(inspector.detectors))]


@torch.no_grad()
def fit_fusion(inspector: Inspector, good: Sequence[Sequence[Tensor]]) -> None:
    """Set ``centres`` and ``spreads`` from the raw maps of good tuning images, at least two: mean and standard deviation of their
    largest values."""
    finest = min(range(len(inspector.reductions)), key=lambda number: inspector.reductions[number])
    sizes = [[inspector.reductions[finest] * side for side in raw[finest].shape[-2:]] for raw in good]
    for row, pooling in enumerate(inspector.poolings):
        for number in inspector.members(pooling):
            pairs = zip(good, sizes, strict=True)
            seen = [inspector.seen_by(pooling, number, raw[number], height, width) for raw, (height, width) in pairs]
            largest = torch.stack([one.amax() for one in seen]).double()
            middle = torch.stack([one[..., ::4, ::4].median() for one in seen]).double()
            inspector.centres[row, number] = largest.mean()
            inspector.spreads[row, number] = _spread(largest, middle).clamp(min=MIN_SPREAD)


def _spread(largest: Tensor, middle: Tensor) -> Tensor:
    """Standard deviation of the ``largest`` values (n,) of n good images, whose medians are ``middle`` (n,).

    Two or three images say little of it, and maps would be weighed by chance. So a usual value is mixed in, as the mean of a
    scaled inverse chi-squared prior on the variance is.
    """
    usual = USUAL_SPREAD * (largest - middle).mean()
    own = len(largest) - 1
    return ((own * largest.var() + USUAL_WEIGHT * usual.square()) / (own + USUAL_WEIGHT)).sqrt()


def pool_map(pooling: MapPooling, raw: Tensor) -> Tensor:
    """A raw map (N, 1, h, w) as ``pooling`` reads it, (N, 1, ceil(h / pool), ceil(w / pool))."""
    small, margin = reduce(raw, pooling.pool), pooling.side // 2
    padded = F.pad(small, (margin,) * 4, mode="replicate")
    # Rows, then columns: the same mean with 2 sums a pixel and side instead of side squared.
    return F.avg_pool2d(F.avg_pool2d(padded, (pooling.side, 1), stride=1), (1, pooling.side), stride=1)
