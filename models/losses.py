"""Losses for tiny masks."""

import torch
import torch.nn.functional as F
from torch import Tensor


def dice_loss(logits: Tensor, labels: Tensor, defective: Tensor) -> Tensor:
    """Mean over the defective samples of ``1 - dice`` (soft, squared denominator: Milletari 2016); 0 if none is defective.

    ``logits``, ``labels``: (N, 1, H, W); ``defective``: (N,) 0 or 1. Clean samples are left out: dice has no useful gradient
    on an empty mask and stalls training when averaged in.
    """
    probability = torch.sigmoid(logits.float())
    overlap = (probability * labels).sum((1, 2, 3))
    total = (probability.square() + labels.square()).sum((1, 2, 3))
    dice = (2.0 * overlap + 1.0) / (total + 1.0)
    return ((1.0 - dice) * defective).sum() / defective.sum().clamp(min=1.0)


def focal_loss(logits: Tensor, labels: Tensor, gamma: float = 2.0) -> Tensor:
    """Mean focal loss for soft labels in 0..1: cross entropy weighted by ``|label - probability| ** gamma`` (quality focal
    loss, Li 2020)."""
    logits = logits.float()
    weight = (torch.sigmoid(logits) - labels).abs().pow(gamma)
    return (weight * F.binary_cross_entropy_with_logits(logits, labels, reduction="none")).mean()


def segmentation_loss(logits: Tensor, labels: Tensor, defective: Tensor) -> Tensor:
    """Dice over defective samples + 5 × focal + cross entropy over all pixels.

    The weights bring the three terms to the same order of magnitude at the start of training on masks of about 1 % of the pixels.
    """
    pixel = F.binary_cross_entropy_with_logits(logits.float(), labels)
    return dice_loss(logits, labels, defective) + 5.0 * focal_loss(logits, labels) + pixel
