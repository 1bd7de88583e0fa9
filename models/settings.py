"""Settings of the stages ``tune``, ``train`` and ``evaluate``: sections of ``params.yaml``. Read without PyTorch."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator

from core.errors import BadSettings
from data.section import Section
from models.detectors.catalogue import NETWORKS
from models.inspection.region import Polygon, Region, flaw


def _known(name: str) -> str:
    if name not in NETWORKS:
        raise ValueError(f"{name!r} is not one of {', '.join(NETWORKS)}{'; null says none' if name == 'none' else ''}")
    return name


NetworkName = Annotated[str, AfterValidator(_known)]
"""A named network of ``models.detectors.catalogue``."""


OverkillTarget = Annotated[float, Field(gt=0.0, lt=0.5)]
"""Share of good parts that may be rejected."""


class TuneSettings(Section):
    """The study that chooses a network and its parameters."""

    seconds: float = Field(60.0, gt=0)
    """Time for the whole study, which follows from preset and budget; the trial under way at its end is finished."""
    trials: int = Field(4, ge=1, le=1000)
    """Trials at most, which follow from the preset; where there is time for one alone, nothing is tried."""
    detectors: tuple[NetworkName, ...] = Field(("unet3plus",), min_length=1)
    """Named networks to choose from, the first of them where nothing is tried; what compares features is trained beside
    (`train.companion`)."""
    max_pixels: int = Field(700_000, ge=16_384)
    """Images larger than this are worked on at a smaller scale."""
    side: int = Field(128, ge=64, le=512, multiple_of=32)
    """Side of the training crops, in pixels at working scale."""


class Replay(BaseModel):
    """One network's training as ``training.json`` records it: its schedule is planned over ``steps_planned``, planned anew at
    ``changes`` (``models.training.training_log.Change``) and left after ``steps``, so that it gives the same weights again."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    steps_planned: PositiveInt
    validations_planned: NonNegativeInt
    steps: PositiveInt
    threads: int = Field(ge=1, le=1024)
    changes: tuple[tuple[int, float, int], ...] = ()
    form: Literal["bfloat16", "float32"] = "bfloat16"


class TrainSettings(Section):
    """The training of the networks that are fused."""

    seconds: float = Field(120.0, gt=0)
    """Time for all networks together, which follows from preset and budget."""
    networks: int = Field(1, ge=1, le=16)
    """How many are trained of the tuned family, with seeds of their own, and fused."""
    companion: NetworkName | None = None
    """Named network of the other kind that is trained beside them; nothing where tuning chose its kind. The presets name
    `patchcore`; `null` for none."""
    companion_share: float = Field(0.25, gt=0, lt=1)
    """Share of the seconds for a companion that learns step by step; one that does not takes what it needs."""


class ReplayedTraining(TrainSettings):
    """Section ``train`` as a rebuild writes it, and nobody else."""

    replay: tuple[Replay, ...] | None = None
    """Recorded trainings, one a network (the companion's last), to go through again instead of a budget."""


def _bounds_an_area(polygon: Polygon) -> Polygon:
    if found := flaw(polygon):
        raise ValueError(found)
    return polygon


def _is_list_of_polygons(value: Any) -> Any:
    """One polygon without the brackets of the list is the likeliest slip, and pydantic's words for it are hard to read."""
    points = value if isinstance(value, list) else []
    if points and all(isinstance(one, list) and [type(number) in (int, float) for number in one] == [True] * 2 for one in points):
        raise ValueError("one polygon stands where a list of polygons has to; put one more pair of brackets around it")
    return value


Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Polygons = Annotated[
    tuple[Annotated[tuple[tuple[Fraction, Fraction], ...], AfterValidator(_bounds_an_area)], ...],
    BeforeValidator(_is_list_of_polygons),
]
"""Polygons of [x, y] in shares of width and height."""


class RegionOfInterest(Section):
    """What is inspected of every image, in shares of width and height: a rectangle or polygons; what lies outside of it, and what
    is ignored, never rejects a part."""

    left: float = Field(0.0, ge=0, le=1)
    """Left edge of the rectangle."""
    top: float = Field(0.0, ge=0, le=1)
    """Its upper edge."""
    right: float = Field(1.0, ge=0, le=1)
    """Its right edge."""
    bottom: float = Field(1.0, ge=0, le=1)
    """Its lower edge."""
    look: Polygons = ()
    """Polygons that are inspected, instead of the rectangle, each a list of at least three `[x, y]`; `[]`: all of the image."""
    ignore: Polygons = ()
    """Polygons that never reject a part, taken out of what is inspected."""

    @model_validator(mode="after")
    def _holds_something(self) -> "RegionOfInterest":
        if not (self.left < self.right and self.top < self.bottom):
            raise ValueError(
                f"the region from ({self.left}, {self.top}) to ({self.right}, {self.bottom}) is empty; give left < right and "
                "top < bottom"
            )
        try:
            self.as_region()
        except BadSettings as error:
            raise ValueError(str(error)) from error
        return self

    def as_region(self) -> Region:
        """As the inspector takes it."""
        return Region(**self.model_dump())


class GateLimits(Section):
    """Limits that a candidate must keep."""

    image_auroc: float = Field(0.8, ge=0.5, le=1.0)
    """Least area under the ROC curve between good images and easy exam defects (difficulty below 0.5)."""
    easy_escape: float = Field(0.2, ge=0.0, le=1.0)
    """Largest share of easy exam defects (difficulty below 0.5) that may pass."""
    parity: float = Field(1e-3, gt=0.0)
    """Largest difference between the exported and the trained map."""
    not_judged: float = Field(0.1, ge=0.0, lt=0.5)
    """Largest share of calibration images that the model may leave not judged."""
    champion_slack: float = Field(0.1, ge=0.0, le=1.0)
    """How much worse than the champion escape or overkill may be on the same images."""


class EvaluateSettings(Section):
    """Threshold, region and gates."""

    overkill_target: OverkillTarget = 0.05
    """Overkill that is wished for; a batch that is too small to promise it gets what it can promise."""
    flips: Literal[1, 2, 4] = 1
    """Test-time flips: 1, 2 or 4, averaged; inspection takes as many times as long."""
    region: RegionOfInterest = RegionOfInterest()
    """Region of interest."""
    gates: GateLimits = GateLimits()
    """Limits that a candidate must keep."""


class ReplayedEvaluation(EvaluateSettings):
    """Section ``evaluate`` as a rebuild writes it, and nobody else."""

    every_defect: bool = False
    """Exam defects outside of the region count, too, as they did when the version was made."""
