"""Uninformed Students (Bergmann 2020, arXiv 1911.02357): students of a patch descriptor, who are wrong and disagree on what they
have never seen."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import BadModel, BadSettings
from models.detectors.detector import Detector
from models.teachers.feature_extractor import COLOURS
from models.teachers.patch_network import GRID, LAYERS, PatchNetwork, of_side
from models.trainable import TrainingBatch

NEWEST = 0.1
"""Weight of the newest batch in the running statistics of error and variance."""


def error_and_variance(wanted: Tensor, given: Tensor) -> Tensor:
    """Squared distance of the students' mean from the teacher's descriptor (Bergmann 2020, eq. 6) and the students' variance
    (eq. 7), each divided by the number of dimensions. ``wanted``: (N, d, h, w); ``given``: (M, N, d, h, w); both (2, N, h, w)."""
    mean = given.mean(0)
    return torch.stack([(mean - wanted).square().mean(1), (given - mean).square().mean((0, 2))])


class Ensemble(nn.Module):
    """A teacher and ``students`` for patches of one ``side`` (px)."""

    def __init__(self, side: int, channels: int, width: int, outputs: int, students: int, teacher_seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(teacher_seed)
            self.teacher = PatchNetwork(side, COLOURS, width, outputs).requires_grad_(False)
        self.students = nn.ModuleList(PatchNetwork(side, channels, width, outputs) for _ in range(students))
        self.standard = nn.BatchNorm2d(outputs, affine=False, eps=1e-6).eval()
        self.statistics: Tensor
        self.register_buffer("statistics", torch.tensor([[0.0, 1.0], [0.0, 1.0]]))  # mean and mean square of error and variance

    def train(self, mode: bool = True) -> "Ensemble":
        """What standardises the teacher's descriptors stays as it was measured."""
        super().train(mode)
        self.standard.eval()
        return self

    def taught(self, images: Tensor) -> Tensor:
        """The teacher's descriptors of images of one or three channels; it sees three."""
        described: Tensor = self.teacher(images if images.shape[1] == COLOURS else images.expand(-1, COLOURS, -1, -1))
        return described

    @torch.no_grad()
    def standardise(self, good: Tensor) -> None:
        """Measure on good crops (N, C, H, W) mean and spread of the teacher's descriptors."""
        self.standard.train()
        self.standard.momentum = None  # a plain average over what is seen
        self.standard.reset_running_stats()
        for chunk in good.split(16):
            self.standard(self.taught(chunk))
        self.standard.eval()

    def describe(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The teacher's standardised descriptors (N, d, h, w) and the students' (M, N, d, h, w), on every fourth pixel."""
        with torch.no_grad():
            wanted = self.standard(self.taught(images).float())
        return wanted, torch.stack([student(images).float() for student in self.students])

    @torch.no_grad()
    def watch(self, wanted: Tensor, given: Tensor) -> None:
        """Update what error and variance are on good crops."""
        both = error_and_variance(wanted, given).flatten(1)
        self.statistics.lerp_(torch.stack([both.mean(1), both.square().mean(1)], 1), NEWEST)

    def forward(self, images: Tensor) -> Tensor:
        """Error and variance, each in units of their own mean and spread on good crops, added (eq. 8): (N, 1, h, w)."""
        mean, square = self.statistics.unbind(1)
        spread = (square - mean.square()).clamp(min=1e-12).sqrt()
        both = error_and_variance(*self.describe(images))
        standardised: Tensor = (both - mean.reshape(2, 1, 1, 1)) / spread.reshape(2, 1, 1, 1)
        return standardised.sum(0)[:, None]


class UninformedStudents(Detector):
    """For patches of each of ``sides`` (17, 33 or 65 px), ``students`` regress a frozen teacher's descriptors on good images.

    The loss is the squared distance of each student's descriptor from the teacher's, standardised on good crops (Bergmann 2020,
    eqs. 3 and 4); the map is the students' error and disagreement, standardised, averaged over sides (eqs. 6 to 9). Networks look
    at every fourth pixel and have ``width`` channels where the paper has every pixel and 128.

    Two things differ from the paper. Unless it is given one that was distilled from another network, as the paper's is
    (``models.teachers.distil``), the teacher has random weights (``teacher_seed``). And what error and variance are on good
    images is a running mean over the last training crops, which never come twice, rather than measured on validation images."""

    family = "uninformed_students"
    teacher_kind = "patches"
    learns_from_good_only = True

    def __init__(
        self,
        channels: int = 1,
        sides: tuple[int, ...] = (17, 33, 65),
        students: int = 3,
        width: int = 16,
        outputs: int = 32,
        teacher_seed: int = 0,
    ) -> None:
        super().__init__()
        if not sides or not set(sides) <= set(LAYERS):
            raise BadSettings(f"uninformed_students.sides {tuple(sides)} must be some of {tuple(LAYERS)}")
        if students < 1:
            raise BadSettings(f"uninformed_students.students {students} must be 1 or more; from 2 on they can disagree")
        self.ensembles = nn.ModuleList(Ensemble(side, channels, width, outputs, students, teacher_seed) for side in sides)

    def load_teacher(self, weights: Mapping[str, Tensor]) -> None:
        """As of ``Detector``: patch networks of the same sides, width and outputs (``models.teachers.patch_network.of_side``)."""
        for ensemble in self.ensembles:
            side: Any = ensemble.teacher.side  # type: ignore[union-attr]
            try:
                ensemble.teacher.load_state_dict(of_side(weights, side))  # type: ignore[union-attr]
            except RuntimeError as error:
                raise BadModel(
                    f"the teacher has no patch network of {side} px like that of the students; distil another"
                ) from error

    def prepare(self, good: Tensor) -> None:
        """Standardise the teachers on good crops (N, C, H, W)."""
        for ensemble in self.ensembles:
            ensemble.standardise(good)  # type: ignore[operator]  # all are ensembles

    def training_loss(self, batch: TrainingBatch, progress: float) -> Tensor:
        """Mean over sides, students, places and dimensions of the squared error."""
        losses = []
        for ensemble in self.ensembles:
            wanted, given = ensemble.describe(batch.images)  # type: ignore[operator]
            ensemble.watch(wanted, given)  # type: ignore[operator]
            losses.append((given - wanted).square().mean())
        return torch.stack(losses).mean()

    def forward(self, images: Tensor) -> Tensor:
        """Mean over sides of the standardised error and variance (eq. 9), (N, 1, H, W)."""
        mean = torch.stack([ensemble(images) for ensemble in self.ensembles]).mean(0)
        return F.interpolate(mean, scale_factor=GRID, mode="bilinear", align_corners=False)
