"""What is remembered of good images: at which scales, and of which levels of the teacher."""

from pathlib import Path

import numpy as np

from models.detectors.catalogue import NETWORKS
from models.teachers.feature_extractor import FeatureExtractor
from models.teachers.teacher_file import TeacherFile, read_teacher
from models.training.memories import memories
from models.training.trial import default_of
from tests.models.test_companion import a_teacher

LARGE, SMALL = np.zeros((200, 300, 1), np.uint8), np.zeros((190, 300, 1), np.uint8)


def remembered(image: np.ndarray, teacher: TeacherFile | None) -> list[tuple[str, int, int]]:
    return [(name, view.reduction, view.side) for name, view in memories("patchcore", [image] * 3, 128, teacher)]


def test_a_teachers_deeper_levels_are_remembered_where_it_has_them(imagenet: TeacherFile, tmp_path: Path) -> None:
    both = [("patchcore", 1, 128), ("patchcore", 2, 64)]
    assert remembered(LARGE, imagenet) == [*both, ("patchcore_deep", 1, 128)]
    assert remembered(LARGE, None) == both
    a_teacher(tmp_path, 3)  # of the plant: what it is made for ends at level 3
    plants = read_teacher(tmp_path)
    assert plants is not None and remembered(LARGE, plants) == both


def test_of_small_images_there_is_one_memory(imagenet: TeacherFile) -> None:
    assert remembered(SMALL, imagenet) == [("patchcore", 1, 128)]


def test_the_deeper_memory_is_coarser_by_one_stride(imagenet: TeacherFile) -> None:
    family, settings = NETWORKS["patchcore_deep"].detector.family, NETWORKS["patchcore_deep"].settings
    plain = FeatureExtractor(family, "tf_efficientnet_lite0", (2, 3), 0)
    deep = FeatureExtractor(family, "tf_efficientnet_lite0", tuple(settings["levels"]), 0)
    assert (plain.strides, deep.strides) == ([8, 16], [16, 32])
    assert default_of("patchcore_deep") == {"detector": "patchcore_deep"}
