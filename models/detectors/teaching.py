"""Which detector takes which teacher, and how it is given one."""

from typing import Any

from models.detectors.catalogue import families
from models.detectors.detector import Detector
from models.teachers.recognise import natural_spread
from models.teachers.teacher_file import ELSEWHERE, TeacherCard, TeacherFile
from models.teachers.vision_transformer import is_transformer


def takes(detector: Detector | type[Detector], card: TeacherCard) -> bool:
    """Whether a detector or family can do something with the teacher of ``card``. Students that are built like their teacher want
    strides that double, so a vision transformer is no teacher for them; what only compares takes it."""
    transformer = is_transformer(str(card.settings.get("backbone", "")))
    return detector.teacher_kind == card.kind and (detector.takes_transformers or not transformer)


def with_teacher(family: str, settings: dict[str, Any], card: TeacherCard | None) -> dict[str, Any]:
    """``settings`` of a detector of ``family`` that can take the teacher of ``card``; as they are where it cannot."""
    if card is None or not takes(families()[family], card):
        return dict(settings)
    elsewhere = card.kind == "features" and card.source in ELSEWHERE
    spread = natural_spread(card.settings["backbone"]) if elsewhere else None
    return families()[family].settings_with(settings, card.settings, spread)


def teach(detector: Detector, teacher: TeacherFile | None) -> None:
    """Give a fresh ``detector``, built with settings of ``with_teacher``, the teacher's weights, if it can take them."""
    if teacher is not None and takes(detector, teacher.card):
        detector.load_teacher(teacher.weights)
