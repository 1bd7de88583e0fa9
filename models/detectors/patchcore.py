"""PatchCore (Roth 2022, arXiv 2106.08265): a memory of good patches, and how far an image's patches are from it."""

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from core.errors import BadSettings
from models.detectors.detector import Detector, Whole
from models.teachers.feature_extractor import FeatureExtractor

CANDIDATES = 100_000
"""Patches that a memory is chosen from."""
FLAT = 1e-4
"""Variance below which a channel says nothing of good parts, and is left as it is."""
PROJECTED = 32
"""Dimensions in which candidates are compared while they are chosen."""


def k_centre(points: Tensor, count: int) -> tuple[Tensor, float]:
    """Greedy k-centre (Roth 2022, algorithm 1): from the first of ``points`` (n, d) on, always the one that is farthest from all
    chosen before. Indices (count,), and how far the farthest point is from its nearest chosen one; where there are fewer points,
    all of them, and the first again."""
    squares = points.square().sum(1)
    nearest = torch.full_like(squares, float("inf"))
    chosen = torch.zeros(count, dtype=torch.long, device=points.device)
    for i in range(min(count, len(points))):
        if i:
            chosen[i] = nearest.argmax()
        # |a - b|² = |a|² + |b|² - 2ab: one pass over the points, ten times as fast as their differences
        nearest = torch.minimum(nearest, squares + squares[chosen[i]] - 2.0 * (points @ points[chosen[i]]))
    farthest = points[nearest.argmax()]
    return chosen, float((points[chosen] - farthest).square().sum(1).min().sqrt())


class PatchCore(Detector):
    """Remembers patches of good images; the map is each patch's distance from the nearest of them.

    A patch's features are those of two ``levels`` of a frozen teacher (``backbone``, ``teacher_seed``, ``spread``: see
    ``models.teachers.feature_extractor``), each averaged over 3 × 3 positions (Roth 2022, sec. 3.1), the deeper ones enlarged to
    the grid of the others. ``size`` patches are kept, by greedy k-centre on a Gaussian random projection (sec. 3.2): first an
    equal share of 100,000 candidates out of each image, then those of all. Candidates drawn at random leave out what is rare on
    good parts, rims above all, which then is taken for a defect. The distance is Euclidean, over the square root of the number of
    channels, so that it does not grow with the network.

    The paper's image score, weighted by the neighbourhood in the memory (eq. 7), is left out: an inspector's score is the largest
    value of its map.
    """

    family = "patchcore"
    teacher_kind = "features"
    takes_transformers = True
    learns_from_good_only = True
    trainable = False
    memory: Tensor

    def __init__(
        self,
        channels: int = 1,
        backbone: str = "resnet18",
        levels: tuple[int, int] = (2, 3),
        size: int = 4000,
        teacher_seed: int = 0,
        spread: float | None = None,
    ) -> None:
        super().__init__()
        if len(levels) != 2 or not 1 <= size <= 20_000:
            raise BadSettings(f"patchcore.levels {tuple(levels)} must be two, and patchcore.size {size} from 1 to 20000")
        self.teacher = FeatureExtractor("patchcore", backbone, tuple(levels), teacher_seed, spread)
        self.register_buffer("memory", torch.zeros(size, sum(self.teacher.widths)))

    def load_teacher(self, weights: Mapping[str, Tensor]) -> None:
        """As of ``Detector``."""
        self.teacher.load(weights)

    def prepare(self, good: Tensor) -> None:
        """Standardise the teacher on good crops (N, C, H, W)."""
        self.teacher.standardise(good)

    def patches(self, images: Tensor) -> Tensor:
        """Locally aware patch features (N, c, h, w) on the grid of the shallower level."""
        fine, coarse = (F.avg_pool2d(f, 3, stride=1, padding=1, count_include_pad=False) for f in self.teacher(images))
        coarse = F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear", align_corners=False)
        return torch.cat([fine, coarse], 1)

    @torch.no_grad()
    def build_memory_bank(self, good: Iterable[Whole], number: int) -> float:
        """Fill the memory from ``number`` whole good images of any sizes that are multiples of 32; the projection is drawn by
        PyTorch's generator. How far (in the map's unit) the farthest candidate is from the memory, as the projection sees it.

        Patches of the margins are not remembered, nor are they in the spread that features are standardised to: nothing of them
        is ever compared.
        """
        share = max(CANDIDATES // number, 1)
        projection = torch.randn(self.memory.shape[1], PROJECTED).to(self.memory) / PROJECTED**0.5
        candidates, seen = [], 0
        total, squares = (torch.zeros(self.memory.shape[1], dtype=torch.float64, device=self.memory.device) for _ in range(2))
        for image in good:
            patches = self._inside(image)  # (n, c)
            seen += len(patches)
            total += patches.double().sum(0)
            squares += patches.double().square().sum(0)
            candidates.append(patches[k_centre(patches @ projection, min(share, len(patches)))[0]])
        mean = total / seen
        variance = squares / seen - mean.square()
        spread = torch.where(variance > FLAT, variance, 1.0).sqrt()
        self.teacher.standardise_again(mean.float(), spread.float())
        pool = ((torch.cat(candidates) - mean) / spread).float()
        chosen, reach = k_centre(pool @ projection, len(self.memory))
        self.memory.copy_(pool[chosen])
        return float(reach / pool.shape[1] ** 0.5)

    def _inside(self, image: Whole) -> Tensor:
        """The patches (n, c) of an image itself, and one around it, to which the enlarged map reaches."""
        patches = self.patches(image.seen)[0]
        stride = image.seen.shape[-1] // patches.shape[-1]
        rows, columns = (slice(max(s.start // stride - 1, 0), -(-s.stop // stride) + 1) for s in (image.rows, image.columns))
        return patches[:, rows, columns].flatten(1).T

    def forward(self, images: Tensor) -> Tensor:
        """Distance from the nearest patch of the memory, enlarged to (N, 1, H, W)."""
        patches = self.patches(images)
        n, c, h, w = patches.shape
        flat = patches.permute(0, 2, 3, 1).reshape(-1, c)  # (n · h · w, c)
        # As in k_centre; one product of matrices, in torch and in the exported file. The exporter stores a norm as
        # a number; for a sum of squares it would store the memory a second time.
        nearest = (torch.linalg.vector_norm(self.memory, dim=1).square() - 2.0 * flat @ self.memory.T).amin(1)
        squared = (flat.square().sum(1) + nearest) / c
        distance = squared.clamp(min=0.0).sqrt().reshape(n, 1, h, w)
        return F.interpolate(distance, size=images.shape[-2:], mode="bilinear", align_corners=False)
