"""What stands behind a version in MLflow: the batch's run with parameters, metrics and files, and the logged model.

Every step may be repeated: a registration that died goes on with the run and the model it finds.
"""

import logging
import math
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from registry.errors import Refused

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

TAG_KEY: Final = "changeover.key"
LONGEST_PARAM: Final = 500
_NOT_ATTACHED: Final = frozenset(("model.onnx", "weights.pt"))


def run_of(client: "MlflowClient", model: str, key: str, name: str, tags: Mapping[str, str]) -> "Run":
    """The run with ``key`` in the experiment of the registered model ``model``; made, with ``name`` and ``tags``, where it is
    missing. ``key`` is of letters, digits, '.', '_', '-' and '/'."""
    from mlflow.exceptions import MlflowException

    try:
        experiment_id = client.create_experiment(model)
    except MlflowException as problem:
        experiment = client.get_experiment_by_name(model)
        if problem.error_code != "RESOURCE_ALREADY_EXISTS" or experiment is None:
            raise
        experiment_id = experiment.experiment_id
    found = client.search_runs([experiment_id], f"tags.`{TAG_KEY}` = '{key}'", max_results=1)
    if found:
        return found[0]
    return client.create_run(experiment_id, run_name=name, tags={TAG_KEY: key, **tags})


def log_run(client: "MlflowClient", run: "Run", metrics: Mapping[str, Any], folder: Path) -> frozenset[str]:
    """Logs parameters, numbers and files; gives the names of the attached files, relative to ``folder``."""
    from mlflow.entities import Metric, Param

    run_id = run.info.run_id
    # One time for all, that of the run: a repeated call writes the same rows again and not more.
    numbers = [Metric(key, value, run.info.start_time, 0) for key, value in _numbers(metrics)]
    params = [Param(key, value) for key, value in _params(metrics)]
    for start in range(0, len(numbers), 500):
        client.log_batch(run_id, metrics=numbers[start : start + 500])
    for start in range(0, len(params), 100):
        client.log_batch(run_id, params=params[start : start + 100])
    files = sorted(_files(folder))
    for path in files:
        inside = path.parent.relative_to(folder).as_posix()
        client.log_artifact(run_id, str(path), None if inside == "." else inside)
    return frozenset(path.relative_to(folder).as_posix() for path in files)


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        if path.is_symlink():
            raise Refused(f"{path} is a link: only plain files are attached to a version; copy the file into the folder")
        if path.is_file() and path.name not in _NOT_ATTACHED and not any(part.startswith(".") for part in parts):
            yield path


def _numbers(metrics: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for key in ("image_auroc", "pixel_ap", "threshold", "pixel_threshold"):
        yield from _number(key, metrics.get(key))
    for key in ("overkill", "escape", "images", "timing", "not_judged"):
        part = metrics.get(key)
        for name, value in part.items() if isinstance(part, Mapping) else ():
            yield from _number(f"{key}.{name}", value)
    families = metrics.get("families")
    for family, part in families.items() if isinstance(families, Mapping) else ():
        for name in ("image_auroc", "pixel_ap"):
            yield from _number(f"family.{family}.{name}", part.get(name) if isinstance(part, Mapping) else None)


def _number(key: str, value: object) -> Iterator[tuple[str, float]]:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        yield _key(key), float(value)


def _params(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key in ("product", "batch", "detector", "preset", "seed", "overkill_target", "model_digest", "images_digest"):
        if metrics.get(key) is not None:
            yield key, str(metrics[key])[:LONGEST_PARAM]
    for part in ("settings", "environment"):
        yield from _flat(part, metrics.get(part))


def _flat(prefix: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat(f"{prefix}.{name}", inner)
    elif value is not None:
        yield _key(prefix), str(value)[:LONGEST_PARAM]


def _key(text: str) -> str:
    """``text`` as MLflow takes a key: letters, digits and a few signs, at most 250 characters."""
    return "".join(sign if sign.isascii() and (sign.isalnum() or sign in "_-. /") else "_" for sign in text)[:250]


def model_of_run(client: "MlflowClient", run: "Run") -> str | None:
    """The finished logged model of a run; None where there is none yet."""
    found = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    return next((one.model_id for one in found if str(one.status) == "READY"), None)


def log_model(client: "MlflowClient", run: "Run", model: Path) -> str:
    """Logs ``model`` (an exported inspector) so that MLflow loads it with onnxruntime and numpy alone; its id."""
    # Written by hand rather than by pyfunc.log_model, which goes through MLflow's process-wide active run.
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        # MLflow warns of its own type hints when it is imported, and logs that a uv environment holds no pip.
        logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("ignore")
            from mlflow import pyfunc

            pyfunc.save_model(
                str(folder),
                python_model=str(Path(__file__).with_name("line_model.py")),
                artifacts={"model": str(model)},
                pip_requirements=[f"{name}=={installed(name)}" for name in ("mlflow", "numpy", "onnxruntime")],
            )
        return log_folder(client, run, "inspector", folder)


def log_folder(client: "MlflowClient", run: "Run", name: str, folder: Path) -> str:
    """Logs the files in ``folder`` as the logged model ``name`` of ``run``; its id."""
    logged = client.create_logged_model(run.info.experiment_id, name=name, source_run_id=run.info.run_id)
    client.log_model_artifacts(logged.model_id, str(folder))
    client.finalize_logged_model(logged.model_id, "READY")
    return str(logged.model_id)
