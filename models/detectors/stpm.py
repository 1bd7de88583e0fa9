"""STPM, student-teacher feature pyramid matching (Wang 2021, arXiv 2103.04257)."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import BadSettings
from models.detectors.detector import Detector
from models.teachers.feature_extractor import FeatureExtractor
from models.teachers.feature_network import feature_network
from models.trainable import TrainingBatch


def distance(wanted: Tensor, given: Tensor) -> Tensor:
    """Half the squared distance of unit-length features (N, c, h, w), 1 - cosine: (N, 1, h, w) in 0..2 (Wang 2021, eq. 1)."""
    return 0.5 * (F.normalize(wanted, dim=1) - F.normalize(given.float(), dim=1)).square().sum(1, keepdim=True)


def log_product(distances: Sequence[Tensor], weights: Sequence[float], size: tuple[int, int]) -> Tensor:
    """The product of distances (N, 1, h, w), each enlarged to ``size`` (H, W), as the mean of their logarithms (N, 1, H, W)
    (Wang 2021, eq. 4); ``weights`` are exponents."""
    maps = [
        weight * F.interpolate(torch.log(d + 1e-6), size=size, mode="bilinear", align_corners=False)
        for weight, d in zip(weights, distances, strict=True)
    ]
    return torch.stack(maps).sum(0) / sum(weights)


class Student(nn.Module):
    """A network like the teacher's, ``backbone``, that ends each level in a 1×1 convolution: it can give signed values, as
    standardised features are, and any ``widths``."""

    def __init__(self, owner: str, backbone: str, channels: int, levels: tuple[int, ...], widths: list[int]) -> None:
        super().__init__()
        self.network = feature_network(owner, backbone, channels, levels)
        own = self.network.feature_info.channels()
        self.heads = nn.ModuleList(nn.Conv2d(before, after, 1) for before, after in zip(own, widths, strict=True))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features of each level, (N, c, h, w)."""
        return [head(features) for head, features in zip(self.heads, self.network(images), strict=True)]


class Stpm(Detector):
    """Students learn to give a frozen teacher's features on good images; where they fail, the image is anomalous.

    ``backbone``: any timm name with feature extraction, of teacher (see ``models.teachers.feature_extractor``; its ``spread``
    too) and students. The loss is half the squared distance of unit-length features, averaged over positions and summed over
    levels with ``weights`` (empty: 1 each; Wang 2021, eqs. 1 to 3); the map is the product of the levels' distances, each
    enlarged to the image's size (eq. 4), here as the mean of their logarithms. ``students``: how many, each from its own start;
    their maps are averaged.

    One thing differs from the paper: the teacher's channels are standardised on good images first, and the students end in
    1×1 convolutions.
    """

    family = "stpm"
    teacher_kind = "features"
    learns_from_good_only = True

    def __init__(
        self,
        channels: int = 1,
        backbone: str = "resnet18",
        levels: tuple[int, ...] = (1, 2, 3),
        weights: tuple[float, ...] = (),
        students: int = 1,
        teacher_seed: int = 0,
        spread: float | None = None,
    ) -> None:
        super().__init__()
        levels = tuple(levels)
        self.weights = tuple(weights) or (1.0,) * len(levels)
        if len(self.weights) != len(levels) or min(self.weights) <= 0:
            raise BadSettings(
                f"stpm.weights {self.weights} must be {len(levels)} positive numbers, one for each of levels {levels}"
            )
        if students < 1:
            raise BadSettings(f"stpm.students {students} must be 1 or more")
        self.teacher = FeatureExtractor("stpm", backbone, levels, teacher_seed, spread)
        self.students = nn.ModuleList(Student("stpm", backbone, channels, levels, self.teacher.widths) for _ in range(students))

    def load_teacher(self, weights: Mapping[str, Tensor]) -> None:
        """As of ``Detector``."""
        self.teacher.load(weights)

    def prepare(self, good: Tensor) -> None:
        """Standardise the teacher on good crops (N, C, H, W)."""
        self.teacher.standardise(good)

    def distances(self, images: Tensor) -> list[list[Tensor]]:
        """Of each student and each level the distance (N, 1, h, w) in 0..2."""
        wanted = self.teacher(images)
        return [[distance(w, g) for w, g in zip(wanted, student(images), strict=True)] for student in self.students]

    def training_loss(self, batch: TrainingBatch, progress: float) -> Tensor:
        """Weighted sum over levels of the mean distance, averaged over students."""
        levels = [
            weight * d.mean() for levels in self.distances(batch.images) for weight, d in zip(self.weights, levels, strict=True)
        ]
        return torch.stack(levels).sum() / len(self.students)

    def forward(self, images: Tensor) -> Tensor:
        """Mean over students and weighted mean over levels of the logarithm of the distance, (N, 1, H, W)."""
        size = (images.shape[-2], images.shape[-1])
        return torch.stack([log_product(levels, self.weights, size) for levels in self.distances(images)]).mean(0)
