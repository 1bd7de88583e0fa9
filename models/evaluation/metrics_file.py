"""``report/metrics.json``: what a version showed, what it was made of and how. The stage ``evaluate`` writes it; the report and
the plant's records read it, of whichever Changeover. The registry has a reader of its own (``registry.rules.figures``).

Whatever an older Changeover did not write is empty or None; what a newer one adds is kept. Shares and areas are in 0..1.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from data.split import of_today
from models.evaluation.rate import Rate
from models.training.training_log import Change, steps_text

Share = Annotated[float, Field(ge=0.0, le=1.0)]


def _named_as_today(found: Any) -> Any:
    return of_today(found) if isinstance(found, Mapping) else found


class Part(BaseModel):
    """Base of all parts."""

    model_config = ConfigDict(frozen=True, extra="allow", coerce_numbers_to_str=True)

    def as_json(self) -> dict[str, Any]:
        """As it stands in the file: what was said, with its keys in order."""
        found: dict[str, Any] = json.loads(json.dumps(self.model_dump(by_alias=True, exclude_unset=True), sort_keys=True))
        return found


class Found(Part):
    """How well exam defects are found."""

    image_auroc: Share
    """Between scores of good test images and of the defects; 0.5 is guessing."""
    pixel_ap: Share
    """Average precision of the maps' pixels."""
    escape: Rate
    """Defects that pass at the model's threshold."""


class Family(Found):
    """A family of exam defects."""

    held_out: bool
    """Kept from training."""


class NotJudged(Part):
    """How many images a model did not judge, since the part was not found in them. It rejects them."""

    calibrate: int | None = None
    """Good images that therefore say nothing of the threshold."""
    test: int
    """Good test images. They count as overkill."""
    defects: int
    """Exam defects. They do not count as escapes."""


class Figures(Found):
    """What one model shows on the frozen images of a batch: of all exam defects, of families, of easy ones."""

    overkill: Rate
    """Good test images that are rejected."""
    not_judged: NotJudged | None = None
    """Of a model that may say of an image that it cannot judge it; None where it judges every image."""
    families: dict[str, Family] = {}
    easy: Found | None = None
    """Of the defects of difficulty below 0.5, which gates ask for."""


class Champion(Figures):
    """The champion on the same images, at its own threshold."""

    version: str
    batch: str
    threshold: float


@dataclass(frozen=True)
class QualityGate:
    """One gate with the value it saw; ``text`` is for people."""

    name: str
    value: float
    limit: float
    passed: bool
    text: str


@dataclass(frozen=True)
class Choice:
    """One threshold that could be chosen. ``promised``: the overkill that it promises (see ``models.inspection.calibration``).
    ``overkill``: counted on test images; ``escape``: on exam defects."""

    threshold: float
    promised: float
    overkill: Rate
    escape: Rate


class Network(Part):
    """The training of one network (``models.training.training_log.TrainingLog``). What is None cannot be trained again."""

    steps: int | None = None
    steps_planned: int | None = None
    validations_planned: int | None = None
    threads: int | None = None
    changes: tuple[Change, ...] = ()
    form: str = "bfloat16"
    """Number format; it was no other before it was chosen."""
    device: str = "cpu"
    seconds: float = 0.0
    ended_by: str = ""
    warm: bool = False
    """Went on from a network of ``Training.warm_start``."""

    @property
    def steps_text(self) -> str:
        """For people."""
        return steps_text(self.steps, self.steps_planned, self.changes)


class Start(Part):
    """The version whose networks training started from."""

    product: str = ""
    version: str | None = None
    weights_digest: str | None = None


class Training(Part):
    """``training.json`` of the stage ``train``."""

    chosen: dict[str, Any] = {}
    """The choice of the study."""
    networks: tuple[Network, ...] = ()
    """In the order of the weights."""
    seed: int | None = None
    weights_digest: str = ""
    """sha256 of ``weights.pt``."""
    teacher: dict[str, Any] | None = None
    """The teacher's card."""
    warm_start: Start | None = None
    environment: dict[str, str] = {}
    packages: dict[str, str] = {}


class Study(Part):
    """The stage ``tune``."""

    trials: int | None = None
    best: dict[str, Any] = {}
    """The choice."""


class Timing(Part):
    """What the stages took, in seconds, and one image, in milliseconds."""

    tune_s: float | None = None
    train_s: float | None = None
    evaluate_s: float | None = None
    ms_per_image: float | None = None


Recorded = tuple[float | None, ...]
"""Scores; None where an image was not judged."""


class Scores(Part):
    """Of every image of good subsets and of the exam."""

    calibrate: Recorded = ()
    test: Recorded = ()
    defects: Recorded = ()

    _named = model_validator(mode="before")(_named_as_today)


class Outside(Part):
    """What the region of interest leaves out of test images, those with exam defects included."""

    share: Share
    """Of the images' pixels."""
    detections: int
    """Connected areas above the threshold that lie wholly there, and are suppressed."""
    images: int
    """With such detections."""
    of: int
    """Images in all."""
    left_out: int
    """Exam defects that lie wholly there, and are counted neither as found nor as escapes."""


class Metrics(Figures):
    """The file."""

    file_format: int = Field(1, alias="schema")
    product: str
    batch: str
    preset: str = ""
    seed: int | None = None
    model_digest: str
    """sha256 of ``report/model.onnx``."""
    images_digest: str
    """``BatchRecord.digest`` of the good images."""
    threshold: float
    """An image is rejected above it."""
    pixel_threshold: float
    """A pixel counts as strange above it."""
    overkill_target: Share
    """What the threshold is made for: the wish, or what that many images can promise, if that is more."""
    overkill_wish: Share | None = None
    guarantee: str = ""
    """What the calibration images can promise, in words."""
    images: Annotated[dict[str, int], BeforeValidator(_named_as_today)] = {}
    """Good images by subset."""
    learned_before: tuple[str, ...] = ()
    """Images that measure nothing, since what training started from has learned them."""
    gates: tuple[QualityGate, ...] = ()
    passed: bool
    """Every gate."""
    champion: Champion | None = None
    detector: str = ""
    """The family that tuning chose."""
    settings: dict[str, Any] = {}
    training: Training = Training()
    study: Study = Study()
    fusion: dict[str, float] = {}
    """Value of every fusion that was tried, by its name."""
    timing: Timing = Timing()
    environment: dict[str, str] = {}
    """Machine and code of the stage ``evaluate``; those of ``train`` stand in ``training``."""
    packages: dict[str, str] = {}
    trade_off: tuple[Choice, ...] = ()
    scores: Scores = Scores()
    outside: Outside | None = None
    """None where all of the image is inspected. Before it was measured, exam defects outside of the region counted as others."""


def judged(scores: Recorded) -> tuple[float, ...]:
    """Those that say something."""
    return tuple(score for score in scores if score is not None)


def read_metrics(text: str | bytes) -> Metrics:
    """The content of a ``metrics.json``. ValueError, which says in a few words what is wrong, where it is damaged."""
    try:
        return Metrics.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))[:80]
        raise ValueError(f"{where!r}: {first['msg']}" if where else first["msg"]) from error
