"""What lies outside of the region of interest: exam defects that are not counted, and detections that are suppressed."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from core.errors import BadSettings
from models.evaluation.exam import Batch, LabelledImage
from models.evaluation.metrics_file import Outside
from models.inspection.inspector import Inspector
from models.inspection.region import Region, mask_of


def lies_outside(label: NDArray[np.float32], seen: NDArray[np.bool_]) -> bool:
    """Whether a defect with this ``label`` (H, W), in 0..1, lies wholly outside of what is ``seen`` (H, W). It lies where its
    label is half visible, or as strong as it gets where it is fainter everywhere, as the report draws it."""
    most = float(label.max())
    return most > 0.0 and not (seen & (label >= min(0.5, most))).any()


@dataclass(frozen=True)
class InView:
    """``batch`` without the exam defects of ``test`` that lie wholly outside of the region, which are ``left_out``: nobody wants
    them found, so they are no escapes."""

    batch: Batch
    left_out: tuple[LabelledImage, ...]


def in_view(batch: Batch, region: Region) -> InView:
    """Part the exam defects of ``test``. BadSettings where none is in view, or a test image has no pixel to inspect."""
    if region.whole:
        return InView(batch, ())
    for exam in batch.good["test"]:
        height, width = exam.image.shape[:2]
        if not mask_of(region, height, width).any():
            raise BadSettings(f"the region holds no pixel of {exam.name!r} ({width} x {height} px); make it larger")
    kept: list[LabelledImage] = []
    out: list[LabelledImage] = []
    for exam in batch.defects["test"]:
        outside = exam.label is not None and lies_outside(exam.label, mask_of(region, *exam.label.shape))
        (out if outside else kept).append(exam)
    if out and not kept:
        raise BadSettings(
            f"all {len(out)} exam defects of the test images lie outside of the region, so that nothing can be measured; make "
            "'look' larger or 'ignore' smaller"
        )
    return InView(replace(batch, defects={**batch.defects, "test": kept}), tuple(out))


def detections_outside(anomaly: NDArray[np.float32], threshold: float, seen: NDArray[np.bool_]) -> int:
    """How many connected areas (8 neighbours) of the map (H, W) above ``threshold`` lie wholly outside of what is ``seen``."""
    count, areas = cv2.connectedComponents((anomaly > threshold).astype(np.uint8), connectivity=8)
    return count - len(np.union1d(areas[seen], [0]))


@torch.no_grad()
def measure_outside(inspector: Inspector, threshold: float, exams: Sequence[LabelledImage], left_out: int) -> Outside:
    """What the region of ``inspector`` suppresses on ``exams``, good images and defects; ``left_out``: defects not counted.

    The trained detectors look at the images once more, without a region: the exported map does not show what it suppresses.
    """
    whole = copy.copy(inspector)  # the same detectors
    whole.region = Region()
    found, unseen = [], []
    for exam in exams:
        seen = mask_of(inspector.region, *exam.image.shape[:2])
        anomaly, *_ = whole(torch.from_numpy(exam.image)[None])
        found.append(detections_outside(anomaly[0].numpy(), threshold, seen))
        unseen.append(1.0 - float(seen.mean()))
    return Outside(
        share=round(float(np.mean(unseen)), 5), detections=sum(found), images=sum(n > 0 for n in found), of=len(found),
        left_out=left_out,
    )  # fmt: skip
