"""Cleaning up after runs that were killed: nothing of them goes on, and Prefect does not show them as running for ever."""

import contextlib

from flows.plant import Plant
from flows.serving.processes import end_group
from flows.serving.run_record import RunState, read_runs


def clean_up(plant: Plant) -> list[RunState]:
    """End the stages of runs whose process died, mark those runs as crashed in Prefect, and return them.

    Needs ``orchestration.connect`` before. What a killed run had finished stays, so that the next run goes on from there.
    """
    buried = []
    for state in read_runs(plant):
        if state.process.alive():
            continue
        if state.stage:
            end_group(state.stage, patience=5.0)
        if state.flow_run:
            _mark_crashed(state.flow_run, f"the process {state.process.pid} of this run died during {state.step or 'its start'}")
        if state.file:
            with contextlib.suppress(FileNotFoundError):
                state.file.unlink()
        buried.append(state)
    return buried


def _mark_crashed(flow_run: str, message: str) -> None:
    from uuid import UUID

    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound
    from prefect.states import Crashed

    with get_client(sync_client=True) as client, contextlib.suppress(ObjectNotFound):
        state = client.read_flow_run(UUID(flow_run)).state
        if state is None or not state.is_final():
            client.set_flow_run_state(UUID(flow_run), Crashed(message=message), force=True)
