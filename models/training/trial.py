"""A trial: what is chosen for one network, and what follows from it. Tuning and training read it alike."""

from collections.abc import Mapping
from typing import Any

from core.errors import BadSettings
from data.defects.recipe import TRAINING_FAMILIES, Recipe
from models.detectors.catalogue import NETWORKS
from models.detectors.teaching import with_teacher
from models.detectors.template_detector import TemplateDetector
from models.teachers.teacher_file import TeacherCard
from models.training.curriculum import SCHEDULES
from models.training.fit import Spec

MIXES: dict[str, tuple[str, ...]] = {
    "all": TRAINING_FAMILIES,
    "drawn": ("bezier", "hull", "stroke", "crack", "perlin", "region", "chip", "library"),
}
"""Recipe mixes. On random textures a patch moved from elsewhere is no defect at all: ``drawn`` leaves those families out."""


def default_of(network: str) -> dict[str, Any]:
    """Sensible parameters of ``network`` (``models.detectors.catalogue``) without any search."""
    return {"detector": network, **NETWORKS[network].defaults[0]}


def spec_of(params: Mapping[str, Any], side: int, teacher: TeacherCard | None = None) -> Spec:
    """A trial's parameters as a training specification, with ``teacher`` for a family that takes it. BadSettings for an
    unknown schedule: trials come from a file."""
    network, schedule = NETWORKS[params["detector"]], params.get("schedule", "none")
    if schedule not in SCHEDULES:
        raise BadSettings(f"schedule {schedule!r} of the trial is not one of {', '.join(SCHEDULES)}; delete study and run again")
    # As many pixels a step, whatever the crops' side: small crops cost their overhead otherwise.
    return Spec(
        network.detector.family,
        with_teacher(network.detector.family, network.settings, teacher),
        schedule,
        params.get("learning_rate", Spec.learning_rate),
        side=side,
        batch_size=16 * max(128 // side, 1),
        # A good training image is laid on a template, often on itself: no false alarms there to learn from.
        hard_negatives=not issubclass(network.detector, TemplateDetector),
    )


def recipe_of(params: Mapping[str, Any], recipe: Recipe) -> Recipe:
    """``recipe`` restricted to the trial's mix of families."""
    wanted = MIXES[params.get("mix", "all")]
    return recipe.model_copy(update={"families": tuple(f for f in recipe.families if f in wanted) or recipe.families})
