"""Promotion as a Prefect flow: looks every minute, so that a signature takes effect without anybody's doing."""

from prefect import flow, get_run_logger

from flows.records.trail import check_head, keep_head
from flows.serving.janitor import clean_up
from flows.serving.orchestration import own_plant
from flows.serving.serve_state import serving_since
from flows.steps.promote import promote_approved
from registry.printable import printable


@flow(name="promotion", persist_result=False)
def promotion(plant: str) -> int:
    """Promote and publish what QA approved, clean up after killed runs, keep the trail's head; how many products changed."""
    log = get_run_logger()
    place = own_plant(plant)
    for state in clean_up(place):
        log.warning("cleaned up after a killed run of %s %s", state.product, state.batch)
    for silent in check_head(place):
        log.warning("a witness of the audit trail could not be asked: %s", silent)
    done = promote_approved(place, lambda line: log.error("%s", printable(line)), since=serving_since())
    for one in done:
        log.info("version %s of %s is the champion, published to %s", one.version, one.product, one.folder)
    if keep_head(place):
        log.info("the head of the audit trail is committed")
    return len(done)
