"""The memories of a changeover: detectors that are not trained step by step, at every scale that may show a difference."""

from collections.abc import Sequence

import numpy as np

from core.errors import BadModel, BadSettings
from models.detectors.catalogue import NETWORKS, build_detector
from models.detectors.teaching import teach, with_teacher
from models.teachers.teacher_file import TeacherFile
from models.training.view import Image, View

SMALLEST = 96.0
"""Shorter side in px of a halved image that says anything of its part."""
DEEPER = {"patchcore": "patchcore_deep"}
"""Named networks, and what is built of a teacher's deeper levels beside them."""


def memories(network: str, images: Sequence[Image], side: int, teacher: TeacherFile | None) -> tuple[tuple[str, View], ...]:
    """Named networks and the views of good ``images`` that they remember.

    What frozen features distinguish depends more on the scale than on the network, and a memory costs seconds. So there is one
    on images as they are. If half of their shorter side is still 96 px or more, there is one on halved images, and one of deeper
    levels where the teacher has them (a plant's own has not).
    """
    whole = View(1, side)
    shorter = float(np.median([min(image.shape[:2]) for image in images]))
    if shorter / 2 < SMALLEST:
        return ((network, whole),)
    halved = (network, View(2, max(side // 2, 64)))
    deeper = DEEPER.get(network)
    if deeper is None or teacher is None or not _has(teacher, deeper):
        return ((network, whole), halved)
    return ((network, whole), halved, (deeper, whole))


def _has(teacher: TeacherFile, network: str) -> bool:
    """Whether ``teacher`` has the levels that ``network`` reads."""
    entry = NETWORKS[network]
    family, settings = entry.detector.family, entry.settings
    try:
        teach(build_detector(family, 3, with_teacher(family, settings, teacher.card)), teacher)
    except (BadModel, BadSettings):
        return False
    return True
