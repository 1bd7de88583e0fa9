"""A teacher without labels: dense VICReg. Two views of one crop, turned, enlarged and exposed differently, must give the same
features where they show the same place (Bardes 2022, arXiv 2105.04906, applied to places as in VICRegL, arXiv 2210.01571)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.teachers.feature_extractor import COLOURS
from models.teachers.feature_network import feature_network
from models.teachers.teacher_file import LEVELS
from models.trainable import Trainable, TrainingBatch

PLACES = 48
"""Places that are compared in each crop."""
INVARIANCE, VARIANCE, COVARIANCE = 25.0, 25.0, 1.0
"""Weights of the three terms (Bardes 2022, sec. 4.2)."""


def vicreg(first: Tensor, second: Tensor) -> Tensor:
    """The loss of two sets of embeddings (n, d), row by row of the same things: mean squared distance; hinge on the standard
    deviation of each dimension, wanted 1; squared covariances of different dimensions, over d (Bardes 2022, eqs. 1 to 6)."""
    loss = INVARIANCE * F.mse_loss(first, second)
    for z in (first, second):
        spread = (z.var(0) + 1e-4).sqrt()
        loss = loss + VARIANCE / 2 * F.relu(1.0 - spread).mean()
        centred = z - z.mean(0)
        covariance = centred.T @ centred / (len(z) - 1)
        off_diagonal = covariance.square().sum() - covariance.diagonal().square().sum()
        loss = loss + COVARIANCE * off_diagonal / z.shape[1]
    return loss


def random_affines(number: int, generator: torch.Generator) -> Tensor:
    """(number, 2, 3) maps from a view's coordinates to the crop's, both -1..1: quarter turns, mirrored or not, turned by up to 10
    degrees, 0.6 to 1.1 times as large, moved within the crop."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(number, generator=generator)

    turns = torch.randint(0, 4, (number,), generator=generator) * (torch.pi / 2) + uniform(-10, 10) * (torch.pi / 180)
    size = uniform(0.6, 1.1)
    mirror = torch.where(torch.rand(number, generator=generator) < 0.5, -1.0, 1.0)
    room = (1.0 - size).clamp(min=0.0)
    rows = [
        torch.stack([size * turns.cos() * mirror, -size * turns.sin(), room * uniform(-1, 1)], 1),
        torch.stack([size * turns.sin() * mirror, size * turns.cos(), room * uniform(-1, 1)], 1),
    ]
    return torch.stack(rows, 1)


def exposed(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images (N, C, H, W) of zero mean and unit spread with another gain (0.7 to 1.4), offset (-0.4 to 0.4), noise (up to 0.15)
    and, half of them, slightly blurred."""
    n = len(images)

    def uniform(low: float, high: float) -> Tensor:
        return (low + (high - low) * torch.rand(n, 1, 1, 1, generator=generator)).to(images)

    soft = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    images = torch.lerp(images, soft, (uniform(0, 1) * (uniform(0, 1) < 0.5)).expand(-1, *images.shape[1:]))
    noise = torch.randn(images.shape, generator=generator).to(images)
    return uniform(0.7, 1.4) * images + uniform(-0.4, 0.4) + uniform(0, 0.15) * noise


def at(features: Tensor, places: Tensor) -> Tensor:
    """Features (N, c, h, w) at ``places`` (N, k, 2), x and y in -1..1: (N, k, c)."""
    found = F.grid_sample(features, places[:, :, None], mode="bilinear", padding_mode="border", align_corners=False)
    return found[..., 0].transpose(1, 2)


class SelfSupervised(Trainable):
    """Training of ``backbone``'s levels 1 to 3; ``network`` is what becomes the teacher. It gives no anomaly map.

    At ``PLACES`` random places of each crop that both views show, each level's features go through an expander (three layers of
    ``width`` channels) into ``vicreg``. Dense, so that a feature stands for its place and not for the image; without negatives,
    since a texture has many places that look alike.
    """

    learns_from_good_only = True

    def __init__(self, channels: int = COLOURS, backbone: str = "resnet10t", width: int = 256) -> None:
        super().__init__()
        self.network = feature_network("self_supervised", backbone, channels, LEVELS)
        self.expanders = nn.ModuleList(
            nn.Sequential(
                nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU(inplace=True),
                nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(inplace=True),
                nn.Linear(width, width),
            )
            for inputs in self.network.feature_info.channels()
        )  # fmt: skip
        self.generator = torch.Generator()

    def views(self, images: Tensor, seed: int) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Two views of each crop, the same ``PLACES`` places in the coordinates of each (N, k, 2), and which of them both views
        show (N, k)."""
        g = self.generator.manual_seed(seed)
        n = len(images)
        affines = [random_affines(n, g) for _ in range(2)]
        # Places are drawn in the first view, so that as many as possible lie in both.
        first = 1.8 * torch.rand(n, PLACES, 2, generator=g) - 0.9
        crop = first @ affines[0][:, :, :2].transpose(1, 2) + affines[0][:, None, :, 2]
        second = (crop - affines[1][:, None, :, 2]) @ torch.linalg.inv(affines[1][:, :, :2]).transpose(1, 2)
        shown = (second.abs().amax(-1) < 0.9) & (crop.abs().amax(-1) < 1.0)
        seen = []
        for affine in affines:
            grid = F.affine_grid(affine, [n, images.shape[1], *images.shape[-2:]], align_corners=False).to(images)
            view = F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
            seen.append(exposed(view, g))
        return seen, [first.to(images), second.to(images)], shown.to(images.device)

    def training_loss(self, batch: TrainingBatch, progress: float) -> Tensor:
        """Mean over levels of the VICReg loss of the places that both views show."""
        images = batch.images if batch.images.shape[1] == COLOURS else batch.images.expand(-1, COLOURS, -1, -1)
        # Drawn anew at every step, from PyTorch's generator, which the trainer seeds and keeps.
        seen, places, shown = self.views(images, int(torch.randint(2**31, ())))
        features = [self.network(view.contiguous(memory_format=torch.channels_last)) for view in seen]
        losses = []
        for expander, *level in zip(self.expanders, *features, strict=True):
            with torch.autocast(images.device.type, enabled=False):
                pair = [expander(at(f.float(), p)[shown]) for f, p in zip(level, places, strict=True)]
                losses.append(vicreg(*pair))
        return torch.stack(losses).mean()
