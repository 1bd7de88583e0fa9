"""The training of the plant's teacher as a Prefect flow: on a schedule, so that it is ready before a line changes over."""

from prefect import flow, get_run_logger

from flows.errors import NoImages
from flows.presets import parse_budget
from flows.serving.orchestration import own_plant
from flows.serving.services import connect_as
from flows.teachers.train_teacher import TeacherOrder
from flows.teachers.train_teacher import train_teacher as train
from registry.printable import printable


@flow(name="train-teacher", persist_result=False)
def train_teacher(plant: str) -> str:
    """Train the teacher that section ``teachers`` of ``changeover.yaml`` describes, on all products; the outcome in words."""
    log = get_run_logger()
    place = own_plant(plant)
    settings = place.config.teachers
    order = TeacherOrder(settings.name, settings.recipe, parse_budget(settings.budget))
    stage = ""

    def report(part: str, share: float | None) -> None:
        nonlocal stage
        if part.partition(":")[0] != stage:
            stage = part.partition(":")[0]
            log.info("%s", printable(part))

    try:
        done = train(place, connect_as(place, "trainer"), order, place.products(), report)
    except NoImages as nothing:  # a new plant: no fault
        log.info("%s", printable(nothing))
        return str(nothing)
    for note in done.images.notes:
        log.warning("%s", printable(note))
    words = f"teacher {done.teacher.name} version {done.teacher.version}, from {done.images.words}"
    log.info("%s", printable(words if done.anew else f"nothing has changed: {words}"))
    return words
