"""RSTPM, reconstruction student with attention for student-teacher pyramid matching (Yamada and Hotta 2021, arXiv 2111.15376)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from core.errors import BadSettings
from models.detectors.detector import Detector
from models.detectors.feature_decoder import FeatureDecoder
from models.detectors.stpm import Stpm, distance, log_product
from models.teachers.feature_extractor import FeatureExtractor
from models.trainable import TrainingBatch


class Rstpm(Detector):
    """STPM's pair, and a second pair whose student reconstructs another teacher's features of a good product.

    Both pairs learn from good images alone. The maps of three levels each, six in all, are the distances of STPM (half the
    squared distance of unit-length features); the loss is the sum of their means; the anomaly map is the product of all six, each
    enlarged to the image's size, as the mean of their logarithms.

    What is known of the method is its abstract; where that is silent, this was decided:

    - *What the second student sees:* the first teacher's features, standardised. It thus has to say what the second teacher would
      see from what the first one saw: a translation that holds for good products only, learned on nothing else.
    - *How it reconstructs:* from a bottleneck of half the deepest level's size upwards (``models.detectors.feature_decoder``),
      which a defect of a few pixels comes through only faintly.
    - *Attention* ("acts to successfully reconstruct the normal regions"): additive gates on the levels that come in beside the
      bottleneck; what agrees with the good product decoded so far passes with its detail, what does not is held back.
      ``attention`` False lets all of it pass.
    - *The second teacher* ("prevents looking at the same regions"): another architecture, ``second_backbone``, from another seed.
    - *Combination:* a product, as within STPM, needs no weights between the pairs: a factor on a map only shifts the logarithm.

    ``second`` False leaves STPM. ``width``: channels of the second student.
    """

    family = "rstpm"
    teacher_kind = "features"
    learns_from_good_only = True

    def __init__(
        self,
        channels: int = 1,
        backbone: str = "resnet18",
        second_backbone: str = "regnetx_002",
        levels: tuple[int, ...] = (1, 2, 3),
        width: int = 64,
        second: bool = True,
        attention: bool = True,
        teacher_seed: int = 0,
        spread: float | None = None,
    ) -> None:
        super().__init__()
        self.first = Stpm(channels, backbone, levels, teacher_seed=teacher_seed, spread=spread)
        self.second = second
        if not second:
            return
        self.teacher = FeatureExtractor("rstpm", second_backbone, levels, teacher_seed + 1)
        strides = self.first.teacher.strides
        if self.teacher.strides != strides or [2 * stride for stride in strides[:-1]] != strides[1:]:
            raise BadSettings(
                f"rstpm.levels {tuple(levels)} have strides {strides} in {backbone} and {self.teacher.strides} in "
                f"{second_backbone}; they must be the same and double from level to level, as of resnet18 and regnetx_002"
            )
        self.student = FeatureDecoder(self.first.teacher.widths, self.teacher.widths, width, attention)

    def load_teacher(self, weights: Mapping[str, Tensor]) -> None:
        """As of ``Detector``; the first pair's."""
        self.first.load_teacher(weights)

    def prepare(self, good: Tensor) -> None:
        """Standardise both teachers on good crops (N, C, H, W)."""
        self.first.prepare(good)
        if self.second:
            self.teacher.standardise(good)

    def distances(self, images: Tensor) -> list[Tensor]:
        """One (N, 1, h, w) in 0..2 a level: the first pair's, shallow to deep, then the second's."""
        seen = self.first.teacher(images)
        found = [distance(w, g) for w, g in zip(seen, self.first.students[0](images), strict=True)]
        if self.second:
            found += [distance(w, g) for w, g in zip(self.teacher(images), self.student(seen), strict=True)]
        return found

    def training_loss(self, batch: TrainingBatch, progress: float) -> Tensor:
        """Sum over all maps of the mean distance."""
        return torch.stack([d.mean() for d in self.distances(batch.images)]).sum()

    def forward(self, images: Tensor) -> Tensor:
        """Mean over all maps of the logarithm of the distance, (N, 1, H, W)."""
        found = self.distances(images)
        return log_product(found, [1.0] * len(found), (images.shape[-2], images.shape[-1]))
