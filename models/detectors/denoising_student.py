"""A denoising student with a segmentation head, in the manner of DeSTSeg (Zhang 2023, arXiv 2211.11317)."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import BadSettings
from models.detectors.detector import Detector
from models.detectors.encoders import conv_block
from models.detectors.feature_decoder import FeatureDecoder
from models.detectors.losses import dice_of, segmentation_loss
from models.detectors.segmentation import RARE
from models.detectors.stpm import distance
from models.teachers.feature_extractor import FeatureExtractor
from models.teachers.feature_network import feature_network
from models.trainable import TrainingBatch


def agreement(wanted: Tensor, given: Tensor) -> Tensor:
    """Product, channel by channel, of unit-length features (N, c, h, w): its sum over channels is their cosine (Zhang 2023,
    eq. 3)."""
    return F.normalize(wanted, dim=1) * F.normalize(given, dim=1)


class DenoisingStudent(Detector):
    """From a crop with a pseudo-defect the student gives the frozen teacher's features of the *clean* crop; a head segments where
    they differ from the teacher's features of what is there.

    The student's loss is 1 - cosine, averaged over places and summed over levels (Zhang 2023, eqs. 1 and 2); the head sees the
    ``agreement`` of student and teacher, its levels enlarged to the first. ``backbone``: of the teacher
    (``models.teachers.feature_extractor``) and of the student's encoder. ``width``: channels of the student's decoder and of the
    head.

    What differs from the paper: the teacher is random (``teacher_seed``) and standardised on good crops. The student's decoder
    also sees its encoder's levels (what it must not copy it is trained not to copy, and a U-Net learns within minutes). Student
    and head learn at the same time, but no gradient goes from the head to the student, as in the paper, where the student has
    learned before. The head's loss is dice with cross entropy, as of every segmentation here, not focal with L1; the head is two
    convolutions, the second of them dilated, not residual blocks with a spatial pyramid.
    """

    family = "denoising_student"
    teacher_kind = "features"
    learns_from_clean = True

    def __init__(
        self,
        channels: int = 1,
        backbone: str = "resnet18",
        levels: tuple[int, ...] = (1, 2, 3),
        width: int = 32,
        teacher_seed: int = 0,
        spread: float | None = None,
    ) -> None:
        super().__init__()
        self.teacher = FeatureExtractor("denoising_student", backbone, levels, teacher_seed, spread)
        strides = self.teacher.strides
        if [2 * stride for stride in strides[:-1]] != strides[1:]:
            raise BadSettings(f"denoising_student.levels {tuple(levels)} have strides {strides}; they must double")
        self.encoder = feature_network("denoising_student", backbone, channels, levels)
        self.decoder = FeatureDecoder(self.teacher.widths, self.teacher.widths, width, attention=False)
        self.head = nn.Sequential(
            conv_block(sum(self.teacher.widths), width),
            nn.Conv2d(width, width, 3, padding=2, dilation=2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, 1, 1),
        )
        nn.init.constant_(self.head[-1].bias, RARE)  # type: ignore[arg-type]  # a convolution with a bias

    def load_teacher(self, weights: Mapping[str, Tensor]) -> None:
        """As of ``Detector``."""
        self.teacher.load(weights)

    def prepare(self, good: Tensor) -> None:
        """Standardise the teacher on good crops (N, C, H, W)."""
        self.teacher.standardise(good)

    def denoised(self, images: Tensor) -> list[Tensor]:
        """The student's features of each level, (N, c, h, w) float32."""
        return [features.float() for features in self.decoder(self.encoder(images))]

    def segment(self, images: Tensor, denoised: list[Tensor]) -> Tensor:
        """Logits (N, 1, H, W) out of the student's features of ``images`` and the teacher's."""
        shown = [agreement(w, g) for w, g in zip(self.teacher(images), denoised, strict=True)]
        size = shown[0].shape[-2:]
        alike = [shown[0], *(F.interpolate(s, size=size, mode="bilinear", align_corners=False) for s in shown[1:])]
        logits = self.head(torch.cat(alike, 1)).float()
        return F.interpolate(logits, size=images.shape[-2:], mode="bilinear", align_corners=False)

    def training_loss(self, batch: TrainingBatch, progress: float) -> Tensor:
        """Sum over levels of the mean distance from the teacher's features of the clean crops + the segmentation loss.
        BadSettings for a batch without them."""
        if batch.clean is None:
            raise BadSettings("denoising_student learns from clean crops beside the others; draw them with CropPlan.with_clean")
        denoised = self.denoised(batch.images)
        wanted = self.teacher(batch.clean)
        loss = torch.stack([distance(w, g).mean() for w, g in zip(wanted, denoised, strict=True)]).sum()
        logits = self.segment(batch.images, [features.detach() for features in denoised])
        self.training_dice = dice_of(logits, batch.labels, batch.defective)
        return loss + segmentation_loss(logits, batch.labels, batch.defective)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 1, H, W)."""
        return self.segment(images, self.denoised(images))
