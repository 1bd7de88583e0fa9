"""STPM, student-teacher feature pyramid matching (Wang 2021, arXiv 2103.04257)."""

from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data.errors import BadSettings
from models.detector import Detector, TrainingBatch


class Stpm(Detector):
    """A student learns to give a frozen teacher's features on good images; where it fails, the image is anomalous.

    ``backbone``: any timm name with feature extraction. The teacher is as ``teacher_seed`` initialises it (random features)
    unless weights are loaded into it; it is part of the saved state, so nothing is ever downloaded. The loss is half the
    squared distance of unit-length features, averaged over positions and summed over levels (Wang 2021, eqs. 1 to 3); the map
    is the product of the levels' distances, each enlarged to the image's size (eq. 4), here as the mean of their logarithms.

    One thing differs from the paper: the teacher's channels are standardised on good images first, and the student ends each
    level in a 1×1 convolution that can give signed values. Features after a ReLU share a large constant part, and those of
    an untrained teacher are nearly all constant: untouched, student and teacher agree to within 2 % before anything was learned.
    """

    learns_from_good_only = True
    teacher: Any  # timm's feature networks carry no types
    student: Any

    def __init__(
        self, channels: int = 1, backbone: str = "resnet18", levels: tuple[int, ...] = (1, 2, 3), teacher_seed: int = 0
    ) -> None:
        super().__init__()
        levels = tuple(levels)
        options: dict[str, Any] = {"pretrained": False, "features_only": True, "in_chans": channels, "out_indices": levels}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(teacher_seed)
            try:
                self.teacher = timm.create_model(backbone, **options)
            except RuntimeError as error:
                raise BadSettings(f"stpm.backbone {backbone!r} is not known to timm; try resnet18") from error
        self.student = timm.create_model(backbone, **options)
        widths = self.teacher.feature_info.channels()
        self.heads = nn.ModuleList(nn.Conv2d(width, width, 1) for width in widths)
        self.standards = nn.ModuleList(nn.BatchNorm2d(width, affine=False, eps=1e-6) for width in widths)
        self.teacher.requires_grad_(False)

    def train(self, mode: bool = True) -> "Stpm":
        """The teacher and its standardisation stay in evaluation mode, whatever the student does."""
        super().train(mode)
        self.teacher.eval()
        self.standards.eval()
        return self

    @torch.no_grad()
    def prepare(self, good: Tensor) -> None:
        """Measure on good crops (N, C, H, W) the teacher's batch statistics, then the spread of its features."""
        for part in (self.teacher, self.standards):
            for norm in part.modules():
                if isinstance(norm, nn.BatchNorm2d):
                    norm.train()
                    norm.momentum = None  # a plain average over what is seen
                    norm.reset_running_stats()
            for chunk in good.split(16):
                for standard, features in zip(self.standards, self.teacher(chunk), strict=True):
                    standard(features)
            part.eval()

    def features(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        """For each level the teacher's standardised features and the student's, both (N, c, h, w)."""
        with torch.no_grad():
            wanted = [standard(f.float()) for standard, f in zip(self.standards, self.teacher(images), strict=True)]
        given = [head(f) for head, f in zip(self.heads, self.student(images), strict=True)]
        return list(zip(wanted, given, strict=True))

    def distances(self, images: Tensor) -> list[Tensor]:
        """Half the squared distance of unit-length features, one (N, 1, h, w) in 0..2 a level."""
        return [
            0.5 * (F.normalize(t, dim=1) - F.normalize(s.float(), dim=1)).square().sum(1, keepdim=True)
            for t, s in self.features(images)
        ]

    def training_loss(self, batch: TrainingBatch, progress: float) -> Tensor:
        """Sum over levels of the mean distance."""
        return torch.stack([d.mean() for d in self.distances(batch.images)]).sum()

    def forward(self, images: Tensor) -> Tensor:
        """Mean over levels of the logarithm of the distance, (N, 1, H, W)."""
        size = images.shape[-2:]
        maps = [
            F.interpolate(torch.log(d + 1e-6), size=size, mode="bilinear", align_corners=False) for d in self.distances(images)
        ]
        return torch.stack(maps).mean(0)
