"""Sections of the stages, as ``changeover.yaml`` and ``products/<product>/product.yaml`` may hold them: what goes into
``params.yaml``."""

from typing import Any, Final

from pydantic import BaseModel, Field, model_validator

from data.defects.recipe import Recipe
from data.section import Section
from data.validation.settings import ValidateSettings
from models.settings import EvaluateSettings, GateLimits, OverkillTarget, RegionOfInterest, TrainSettings, TuneSettings

SECTIONS: Final[dict[str, type[Section]]] = {
    "validate": ValidateSettings,
    "recipe": Recipe,
    "tune": TuneSettings,
    "train": TrainSettings,
    "evaluate": EvaluateSettings,
}
"""Sections of ``params.yaml``, in the order in which their stages run."""
SHORT: Final = ("overkill_target", "region", "gates")
"""Settings of ``evaluate`` that may stand at the left margin, too."""


class StageSections(Section):
    """What a plant or a product sets of the stages. ``overkill_target``, ``region`` and ``gates`` are those of ``evaluate``."""

    checks: ValidateSettings = Field(ValidateSettings(), alias="validate")  # BaseModel has a method of that name
    recipe: Recipe = Recipe()
    tune: TuneSettings = TuneSettings()
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    overkill_target: OverkillTarget | None = None
    region: RegionOfInterest = RegionOfInterest()
    gates: GateLimits = GateLimits()

    @model_validator(mode="after")
    def _said_once(self) -> "StageSections":
        twice = [name for name in SHORT if name in self.model_fields_set and name in self.evaluate.model_fields_set]
        if twice:
            raise ValueError(f"{twice[0]} stands at the left margin and under evaluate; put both into one")
        return self

    def sections(self) -> dict[str, dict[str, Any]]:
        """What is set here, and nothing else: settings by section of ``params.yaml``."""
        found = {"validate": _set(self.checks), **{name: _set(getattr(self, name)) for name in SECTIONS if name != "validate"}}
        if self.overkill_target is not None:
            found["evaluate"]["overkill_target"] = self.overkill_target
        for name in ("region", "gates"):
            if values := _set(getattr(self, name)):
                found["evaluate"][name] = values
        return {name: values for name, values in found.items() if values}


def _set(settings: BaseModel) -> dict[str, Any]:
    return settings.model_dump(mode="json", exclude_unset=True)
