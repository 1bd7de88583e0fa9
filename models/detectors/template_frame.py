"""The frame of a template, and how images and maps come into it and out of it again.

Coordinates: a pixel's centre lies at half numbers, so that an image of width W reaches from 0 to W at every resolution. The
template's own are measured from its centre, in units of half its longer side (``unit`` px).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


def inverse(affine: Tensor) -> Tensor:
    """Of affine maps (N, 3, 3), whose last row is 0, 0, 1; ONNX inverts no matrices."""
    (a, b, c), (d, e, f) = (row.unbind(1) for row in affine[:, :2].unbind(1))
    size, zero = a * e - b * d, torch.zeros_like(a)
    entries = [e, -b, b * f - c * e, -d, a, c * d - a * f, zero, zero, size]
    return torch.stack(entries, 1).reshape(-1, 3, 3) / size[:, None, None]


@dataclass(frozen=True)
class Frame:
    """The template's frame of ``height`` × ``width`` px. Coordinates are measured from its centre, in units of half its longer
    side, in images as well: the same point in both, where image and template have the same upper left corner."""

    height: int
    width: int

    @property
    def unit(self) -> float:
        """Of coordinates, in px."""
        return max(self.height, self.width) / 2

    def points(self, like: Tensor, height: int, width: int, factor: int = 1) -> tuple[Tensor, Tensor]:
        """Centres of pixels that measure ``factor`` px, of images of any size: their columns (width, 3) and rows (height, 3),
        whose sums are x, y, 1."""
        middles = ((width, self.width), (height, self.height))
        x, y = (((torch.arange(n).to(like) + 0.5) * factor - side / 2) / self.unit for n, side in middles)
        across, down, one = torch.eye(3).to(like)
        return x[:, None] * across + one, y[:, None] * down

    def to_sampler(self, images: Tensor) -> Tensor:
        """(2, 3): from coordinates to what ``grid_sample`` takes for ``images`` (N, C, H, W) and what is reduced from them; how
        large they are the exported file learns when it sees them."""
        sides = [torch.as_tensor(images.shape[side]).to(images) for side in (3, 2)]
        turns = [torch.eye(2, 3).to(images)[n] * (2.0 * self.unit) / sides[n] for n in (0, 1)]
        moves = [images.new_tensor([0.0, 0.0, middle]) / sides[n] for n, middle in enumerate((self.width, self.height))]
        return torch.stack([turns[n] + moves[n] - images.new_tensor([0.0, 0.0, 1.0]) for n in (0, 1)])


def sampled(images: Tensor, to_sampler: Tensor, points: tuple[Tensor, Tensor]) -> Tensor:
    """Images (N, C, h', w') at ``points`` (w, 3) and (h, 3), through ``to_sampler`` (N, 2, 3): (N, C, h, w), interpolated, 0
    outside."""
    mapped = to_sampler.transpose(1, 2)
    columns, rows = (part @ mapped for part in points)
    grid = columns[:, None] + rows[:, :, None]
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


@dataclass(frozen=True)
class Registered:
    """Where the template's part lies in each of N images. ``affine`` (N, 3, 3): from the template's coordinates to the image's.
    ``confidence`` (N,) in 0..1: correlation of image and template where both are seen, 0 where too little is. ``chosen`` (N,):
    which template it is."""

    affine: Tensor
    confidence: Tensor
    frame: Frame
    chosen: Tensor

    def warped(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) in the template's frame, interpolated; zero where there is no image."""
        points = self.frame.points(images, self.frame.height, self.frame.width)
        return sampled(images, self.frame.to_sampler(images) @ self.affine, points)

    def back(self, maps: Tensor, images: Tensor) -> Tensor:
        """Maps (N, C, h, w) of the template's frame as maps of ``images`` (N, C', H, W); zero beyond the template."""
        points = self.frame.points(maps, images.shape[2], images.shape[3])
        half = maps.new_tensor([[2 * self.frame.unit / self.frame.width], [2 * self.frame.unit / self.frame.height]])
        return sampled(maps, inverse(self.affine)[:, :2] * half, points)
