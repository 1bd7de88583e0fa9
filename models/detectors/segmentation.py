"""What the segmentation networks share: two heads, where a defect is and whether there is one, learned together and fused."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

import torch.nn.functional as F
from torch import Tensor, nn

from models.detectors.detector import Detector, Kind
from models.detectors.encoders import OF_TIMM
from models.detectors.losses import dice_of, segmentation_loss
from models.teachers.feature_network import TORCHVISION, matched
from models.trainable import TrainingBatch

RARE = -3.0
"""Bias that output layers start from: defects are rare, so not from one half."""


class SegmentationDetector(Detector):
    """A network with a segmentation head and a classification head, trained on pseudo-defects.

    The classification head is a map at the deepest stride, not a pooled vector, so that it means the same on a crop and on a
    whole image; the fused anomaly map is ``segmentation logit + classification_weight * log-sigmoid(classification logit)``, the
    soft form of UNet 3+'s multiplication by the predicted class (Huang 2020). ``classification_weight`` 0 leaves the
    classification out.

    An encoder of timm (``tu-…``) may start from a teacher: it then is the teacher's own network, and ``spread`` is the standard
    deviation of the images that the teacher was trained on (None without a teacher; images come here with 1). With
    ``keep_upper`` only its deepest level is trained on; those above it, statistics included, stay as they came, and a step takes
    two thirds of the time. Teachers that were trained on photographs are used like that (decision 13); a plant's own, which may
    come from an hour's training, are trained on as a whole.
    """

    kind: ClassVar[Kind] = "segmentation"
    teacher_kind: str | None = "features"
    encoder: Any

    def __init__(self, deepest: int, classification_weight: float, spread: float | None = None, keep_upper: bool = False) -> None:
        super().__init__()
        self.classification_weight, self.spread, self.keep_upper = classification_weight, spread, keep_upper
        self.teacher_kind = None if spread is None else "features"
        self.classify = nn.Sequential(nn.Dropout2d(0.1), nn.Conv2d(deepest, 1, 1))

    @classmethod
    def settings_with(cls, settings: Mapping[str, Any], teacher: Mapping[str, Any], spread: float | None) -> dict[str, Any]:
        """As of ``Detector``; a network that is defined by its encoder keeps it, and starts from nothing."""
        backbone = str(teacher["backbone"])
        if not str(settings.get("encoder", "")).startswith(OF_TIMM) or backbone.startswith(TORCHVISION):
            return dict(settings)
        return {**settings, "encoder": f"{OF_TIMM}{backbone}", "spread": spread or 1.0, "keep_upper": spread is not None}

    def load_teacher(self, weights: Mapping[str, Tensor]) -> None:
        """As of ``Detector``: start the encoder from them."""
        assert self.spread is not None  # noqa: S101 - it has no kind of teacher else
        network = self.encoder.network.model
        first, own = next(iter(network.state_dict().items()))
        # Summed over its three channels, the layer does for grey what it does for grey shown three times; the factor brings
        # images to the spread that the teacher knows.
        shown = weights[first] if own.shape[1] == weights[first].shape[1] else weights[first].sum(1, keepdim=True)
        network.load_state_dict(matched(network, {**weights, first: shown * self.spread}, "the teacher"))
        for parameter in _before_deepest(network) if self.keep_upper else ():
            parameter.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """As of PyTorch; layers whose weights are kept keep their statistics, too."""
        super().train(mode)
        for layer in self.modules():
            own = list(layer.parameters(recurse=False))
            if own and not any(parameter.requires_grad for parameter in own):
                layer.eval()
        return self

    def taught_parameters(self) -> Iterable[nn.Parameter]:
        """As of ``Detector``: the encoder's."""
        return self.encoder.parameters() if self.spread is not None else ()

    def heads(self, images: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        """Logits at full resolution (N, 1, H, W), coarser levels' logits from deep to shallow (deep supervision, where there is
        any), and the classification map at the deepest stride."""
        raise NotImplementedError

    def training_loss(self, batch: TrainingBatch, progress: float) -> Tensor:
        """Segmentation loss at every level (weight 1, then 1/2, 1/4 …) + cross entropy of the classification map and of its
        maximum."""
        fine, coarse, classes = self.heads(batch.images)
        self.training_dice = dice_of(fine, batch.labels, batch.defective)
        loss = segmentation_loss(fine, batch.labels, batch.defective)
        for i, logits in enumerate(reversed(coarse)):
            step = batch.labels.shape[-1] // logits.shape[-1]
            labels = F.max_pool2d(batch.labels, step)
            loss = loss + 0.5 ** (i + 1) * segmentation_loss(logits, labels, batch.defective)
        present = F.max_pool2d(batch.labels, batch.labels.shape[-1] // classes.shape[-1])
        loss = loss + 0.25 * F.binary_cross_entropy_with_logits(classes.float(), present)
        whole = classes.float().flatten(1).amax(1)
        return loss + 0.25 * F.binary_cross_entropy_with_logits(whole, batch.defective)

    def forward(self, images: Tensor) -> Tensor:
        """Fused logits (N, 1, H, W)."""
        fine, _, classes = self.heads(images)
        if self.classification_weight == 0:
            return fine.float()
        # The logarithm of the sigmoid. PyTorch's own is exported as two operations, of which the second gets a zero.
        sure = -F.softplus(-classes.float())
        classification_weight = F.interpolate(sure, size=fine.shape[-2:], mode="bilinear", align_corners=False)
        return fine.float() + self.classification_weight * classification_weight


def _before_deepest(network: Any) -> list[nn.Parameter]:
    """Parameters of a feature network of timm up to its last level but one, which lie in the order of the forward pass."""
    level = network.feature_info.module_name()[-2]
    written = (f"{level}.", f"{level.replace('.', '_', 1)}.")  # feature lists write the first dot of a name as an underscore
    named = list(network.named_parameters())
    last = max((i for i, (name, _) in enumerate(named) if name.startswith(written)), default=-1)
    return [parameter for _, parameter in named[: last + 1]]
