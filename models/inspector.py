"""The inspector: detectors with everything around them, from camera pixels to a verdict. It alone is evaluated, exported and
shipped."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data.errors import BadSettings
from models.detector import Detector
from models.preprocess import normalise, resize

STRIDE = 32


@dataclass(frozen=True)
class Region:
    """Region of interest in fractions of width and height (0..1); what lies outside never rejects a part."""

    left: float = 0.0
    top: float = 0.0
    right: float = 1.0
    bottom: float = 1.0

    def __post_init__(self) -> None:
        if not (0.0 <= self.left < self.right <= 1.0 and 0.0 <= self.top < self.bottom <= 1.0):
            raise BadSettings(f"region {vars(self)} is empty or leaves 0..1; give left < right and top < bottom")


class Inspector(nn.Module):
    """Pre-processing, detectors, test-time views, fusion, smoothing, score and threshold in one module.

    ``centres``, ``spreads``: median and spread of each detector's map on good tuning images; maps are fused as the mean of
    ``(map - centre) / spread``. ``views``: 1 (as it is), 2 (+ left-right) or 4 (+ both flips). ``smooth``: side in px (odd) of
    the mean
    filter on the fused map at working scale. The score is the largest value of the map.
    """

    def __init__(
        self,
        detectors: list[Detector],
        scale: float,
        centres: list[float] | None = None,
        spreads: list[float] | None = None,
        views: int = 1,
        smooth: int = 5,
        region: Region | None = None,
    ) -> None:
        super().__init__()
        if smooth % 2 == 0 or views not in (1, 2, 4):
            raise BadSettings(f"inspector: smooth {smooth} must be odd and views {views} one of 1, 2, 4")
        self.detectors = nn.ModuleList(detectors)
        self.scale, self.views, self.smooth = scale, views, smooth
        self.region = region or Region()
        self.centres: Tensor
        self.spreads: Tensor
        self.threshold: Tensor
        self.register_buffer("centres", torch.tensor(centres or [0.0] * len(detectors)))
        self.register_buffer("spreads", torch.tensor(spreads or [1.0] * len(detectors)))
        self.register_buffer("threshold", torch.tensor(0.0))

    def prepared(self, images: Tensor) -> Tensor:
        """uint8 (N, H, W, C) to normalised float (N, C, h, w), padded at the right and bottom to multiples of 32 by
        reflection."""
        x = normalise(resize(images.permute(0, 3, 1, 2).float() / 255.0, self.scale))  # (N, C, h, w)
        height, width = x.shape[-2], x.shape[-1]
        return F.pad(x, (0, (-width) % STRIDE, 0, (-height) % STRIDE), mode="reflect")

    def detector_maps(self, x: Tensor) -> list[Tensor]:
        """Each detector's map (N, 1, h, w), averaged over the views."""
        flips: list[tuple[int, ...]] = [(), (3,), (2,), (2, 3)][: self.views]
        maps = []
        for detector in self.detectors:
            seen = [detector(torch.flip(x, f)).flip(f) if f else detector(x) for f in flips]
            maps.append(torch.stack(seen).mean(0) if len(seen) > 1 else seen[0])
        return maps

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """uint8 (N, H, W, C) to map (N, H, W), score (N,) and verdict (N,): True rejects."""
        x = self.prepared(images)
        fused = torch.stack(
            [(m - c) / s for m, c, s in zip(self.detector_maps(x), self.centres, self.spreads, strict=True)]
        ).mean(0)
        margin = self.smooth // 2
        fused = F.avg_pool2d(F.pad(fused, (margin,) * 4, mode="replicate"), self.smooth, stride=1)
        height, width = images.shape[1], images.shape[2]
        if self.scale == 1.0:
            full = fused[:, 0, :height, :width]
        else:
            resized = resize(images.permute(0, 3, 1, 2).float(), self.scale)
            fused = fused[:, :, : resized.shape[-2], : resized.shape[-1]]
            full = F.interpolate(fused, size=(height, width), mode="bilinear", align_corners=False)[:, 0]
        full = self._inside_region(full)
        score = full.flatten(1).amax(1)
        return full, score, score > self.threshold

    def _inside_region(self, full: Tensor) -> Tensor:
        region = self.region
        if region == Region():
            return full
        rows = torch.arange(full.shape[1]).to(full) / full.shape[1]
        columns = torch.arange(full.shape[2]).to(full) / full.shape[2]
        inside = ((rows >= region.top) & (rows < region.bottom))[:, None] & ((columns >= region.left) & (columns < region.right))[
            None
        ]
        floor = full.flatten(1).amin(1)[:, None, None]
        return torch.where(inside[None], full, floor)


@torch.no_grad()
def fit_fusion(inspector: Inspector, images: list[Any]) -> None:
    """Set ``centres`` and ``spreads`` from good tuning images (uint8 (H, W, C)): median, and 99th percentile minus median."""
    per_detector: list[list[Tensor]] = [[] for _ in inspector.detectors]
    for image in images:
        x = inspector.prepared(torch.from_numpy(image)[None])
        for collected, m in zip(per_detector, inspector.detector_maps(x), strict=True):
            collected.append(m.flatten()[:: max(m.numel() // 20_000, 1)])
    for i, collected in enumerate(per_detector):
        values = torch.cat(collected).double()
        centre = values.median()
        inspector.centres[i] = centre
        inspector.spreads[i] = (values.quantile(0.99) - centre).clamp(min=1e-3)
