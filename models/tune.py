"""Stage ``tune``: Optuna over detector family, curriculum, recipe mix and learning rate, within a budget of seconds."""

import hashlib
import json
import time
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from core.files import replacing_folder, write_json
from data.batch import LIBRARY, BatchFolder
from data.defects.library import batch_templates, read_library
from data.defects.recipe import Recipe
from data.defects.scale import measure_scale
from data.progress import Progress
from data.stage import read_params, read_settings, run_stage
from models.detectors.catalogue import NETWORKS
from models.detectors.teaching import teach
from models.evaluation.exam import Batch, read_batch
from models.evaluation.objective import objective, tune_set
from models.inspection.preprocess import at_working_scale, working_scale
from models.settings import TuneSettings
from models.teachers.teacher_file import TeacherCard, read_teacher
from models.training.budget import Plan
from models.training.crops import CropPlan
from models.training.curriculum import SCHEDULES
from models.training.fit import fit
from models.training.trial import MIXES, recipe_of, spec_of


def suggest(trial: Any, settings: TuneSettings) -> dict[str, Any]:
    """Draw one set of parameters: learning rate, curriculum and recipe mix, as far as its detector has them."""
    name = trial.suggest_categorical("detector", list(settings.detectors))
    params: dict[str, Any] = {"detector": name}
    detector = NETWORKS[name].detector
    if detector.trainable:
        params["learning_rate"] = trial.suggest_float(_rate_name(name), *NETWORKS[name].learning_rates, log=True)
    if not detector.learns_from_good_only:
        params["schedule"] = trial.suggest_categorical("schedule", list(SCHEDULES))
        params["mix"] = trial.suggest_categorical("mix", list(MIXES))
    return params


def _rate_name(network: str) -> str:
    """What the study calls a network's learning rate: one name stands for one range."""
    return "learning_rate_{:g}_{:g}".format(*NETWORKS[network].learning_rates)


SHORTEST_TRIAL = 45.0
"""Seconds. Below that trials rank detectors by how fast they start, not by how good they get: on the sample product two trials of
24 s preferred an STPM that never passed its gates. A budget too small for two trials tries nothing."""


def first_trials(names: Sequence[str]) -> list[dict[str, Any]]:
    """Default trials of the networks ``names``, in this order: the first of each, then the second, and so on."""
    each = [[{"detector": name, **trial} for trial in NETWORKS[name].defaults] for name in dict.fromkeys(names)]
    return [trial for trials in zip_longest(*each) for trial in trials if trial is not None]


def as_suggested(params: dict[str, Any]) -> dict[str, Any]:
    """``params`` under the names that the study gives them (``suggest``)."""
    name = _rate_name(params["detector"])
    return {name if key == "learning_rate" else key: value for key, value in params.items()}


def tune(folder: BatchFolder) -> None:
    """Run the study and write ``study/best.json``, ``study/trials.json`` and ``study/journal.log``.

    The journal is kept in ``.work`` while the study runs, so that a killed study goes on where it was. Where there is time for
    one trial alone, nothing is tried: it would choose nothing, and training gets its time.
    """
    params = read_params(folder)
    settings = read_settings(params, "tune", TuneSettings)
    recipe, seed = read_settings(params, "recipe", Recipe), int(params.get("seed", 0))
    batch = read_batch(folder, ("train", "tune"))
    images = [exam.image for exam in batch.good["train"]]
    scale = working_scale(images, settings.max_pixels)
    images = [at_working_scale(image, scale) for image in images]
    teacher = read_teacher(folder.file("teacher"))
    card = None if teacher is None else teacher.card
    fixed = {"scale": scale, "side": settings.side}
    planned = max(min(settings.trials, int(settings.seconds / SHORTEST_TRIAL)), 1)
    defaults = first_trials(settings.detectors)
    if planned == 1:
        print("nothing is tried: there is time for the default settings alone")
        _write_study(folder, [], b"", {"params": _named(defaults[0], settings, card), "value": None, **fixed})
        return
    library, measured = read_library(folder.file(LIBRARY), batch.channels), measure_scale(images)
    templates = [at_working_scale(image, scale) for image in batch_templates(folder, batch.channels)]
    tuning = tune_set(batch.good["tune"], batch.defects["tune"], scale)

    about = [params, _fingerprint(batch), card and card.digest]
    key = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()[:16]
    journal = folder.work / "tune" / f"journal-{key}.log"
    study = _study(journal)
    first = [as_suggested(default) for default in defaults]
    progress, started = Progress(folder.path, "tune"), time.monotonic()
    spent, done = sum(t.user_attrs.get("seconds", 0.0) for t in study.trials), len(_complete(study))
    while done < planned and spent + time.monotonic() - started < settings.seconds:
        left = settings.seconds - spent - (time.monotonic() - started)
        each = left / (planned - done)
        trial = _next(study, done, first, seed)
        chosen = _named(suggest(trial, settings), settings, card)
        spec = spec_of(chosen, settings.side, card)
        begun = time.monotonic()

        def report(step: int, steps: int, loss: float, message: str, chosen: dict[str, Any] = chosen, done: int = done) -> None:
            passed = spent + time.monotonic() - started
            progress.update(
                min(passed, settings.seconds), settings.seconds, f"trial {done + 1} of {planned}: {chosen['detector']}, {message}"
            )

        crops = CropPlan(
            recipe_of(chosen, recipe), measured, settings.side, 0, chosen.get("schedule", "none"), seed, library=library
        )
        detector, log = fit(
            images, crops, spec, Plan(0.8 * each), report=report, begin=lambda made: teach(made, teacher), templates=templates
        )
        result = objective([detector], tuning)
        trial.set_user_attr("seconds", time.monotonic() - begun)
        trial.set_user_attr("chosen", chosen)
        trial.set_user_attr("families", {"pixel_ap": result.pixel_ap, "separation": result.separation})
        trial.set_user_attr("steps", log.steps)
        study.tell(trial, result.value)
        done += 1
        print(f"trial {done} of {planned}: {chosen} gives {result.value:.3f} after {log.steps} steps")
    progress.update(settings.seconds, settings.seconds, f"{done} trials")
    finished = _complete(study)
    best = max(finished, key=lambda t: (t.value, -t.number))
    _write_study(folder, finished, journal.read_bytes(), {"params": best.user_attrs["chosen"], "value": best.value, **fixed})


def _named(params: dict[str, Any], settings: TuneSettings, card: TeacherCard | None) -> dict[str, Any]:
    """``params`` with the teacher's title where their network takes it."""
    if card is None or spec_of(params, settings.side, card).settings == NETWORKS[params["detector"]].settings:
        return dict(params)
    return {**params, "teacher": card.title}


def _study(journal: Path) -> Any:
    """The study that ``journal`` keeps, or a new one. A trial that a killed process had begun is given up, and asked for
    again."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal.parent.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name="study",
        storage=JournalStorage(JournalFileBackend(str(journal))),
        direction="maximize",
        load_if_exists=True,
    )
    for begun in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(begun.number, state=TrialState.FAIL)
    return study


def _complete(study: Any) -> list[Any]:
    from optuna.trial import TrialState

    return [trial for trial in study.trials if trial.state == TrialState.COMPLETE]


def _next(study: Any, done: int, first: list[dict[str, Any]], seed: int) -> Any:
    """The trial after ``done`` complete ones: those to be tried ``first``, then what the sampler chooses. It depends on its
    number alone, not on how often the study was resumed."""
    import optuna
    from optuna.trial import TrialState

    if done < len(first) and not study.get_trials(states=(TrialState.WAITING,)):
        study.enqueue_trial(first[done])
    study.sampler = optuna.samplers.TPESampler(seed=seed + done, n_startup_trials=3)
    return study.ask()


def _write_study(folder: BatchFolder, finished: list[Any], journal: bytes, best: dict[str, Any]) -> None:
    """The trials, ``best`` of them and what training needs besides, and the journal, which is empty where nothing was tried."""
    keys = ("families", "steps")
    trials = [
        {
            "number": trial.number, "state": "complete", "value": trial.value, "params": trial.user_attrs["chosen"],
            "seconds": round(trial.user_attrs["seconds"], 1), "reason": "", **{key: trial.user_attrs[key] for key in keys},
        }
        for trial in finished
    ]  # fmt: skip
    with replacing_folder(folder.file("study"), folder.work / "study") as out:
        write_json(out / "trials.json", trials)
        (out / "journal.log").write_bytes(journal)
        write_json(out / "best.json", best)


def _fingerprint(batch: Batch) -> str:
    digest = hashlib.sha256()
    for subset in sorted(batch.good):
        for exam in (*batch.good[subset], *batch.defects[subset]):
            digest.update(exam.name.encode() + np.ascontiguousarray(exam.image[::7, ::7]).tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    run_stage(tune)
