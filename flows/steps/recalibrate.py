"""Another threshold for a version: the order that made it, with another overkill target, and the region of interest that the
product has by now; nothing else. Neither needs a training."""

import re
from pathlib import Path
from typing import Any

import yaml

from data.checkout import file_at
from flows.errors import PlantError
from flows.plant import Plant
from flows.presets import RunRequest, check_preset
from flows.product_setting import write_setting
from flows.region import KEY, region_of
from flows.steps.job import Job
from models.settings import EvaluateSettings
from registry.client.versions import Version

SETTING = "overkill_target"


def parse_share(text: str) -> float:
    """``5%`` or ``0.05`` as 0.05; PlantError for anything that is not over 0 and under one half."""
    found = re.fullmatch(r"\s*(\d{1,3}(?:[.,]\d{1,6})?|[.,]\d{1,6})\s*(%?)\s*", text)
    share = float(found[1].replace(",", ".")) / (100.0 if found[2] else 1.0) if found else 0.0
    if not 0.0 < share < 0.5:
        raise PlantError(f"overkill {text[:40]!r} is not over 0% and under 50%; write 5% or 0.05")
    return share


def recalibration(plant: Plant, version: Version, overkill: float) -> Job:
    """The job that made ``version``, for another ``overkill``, which ``product.yaml`` is given for it and for later batches.

    A region of interest that was set since comes along. PlantError where the batch is not in this plant, where the version was
    made for just this, and where other settings have changed since: that would train anew. Then nothing is written.
    """
    folder = plant.batch(version.product, version.batch)
    if not folder.file("batch.yaml").exists() or not folder.good.is_dir():
        raise PlantError(
            f"the images of {version.product} {version.batch} are not in the plant {plant.path}; run this where the batch is"
        )
    params = _params_of(plant, version)
    if params["evaluate"].get(SETTING, None) == overkill and not region_changed(plant, version):
        raise PlantError(f"version {version.version} of {version.product} was made for an overkill of {overkill:.4g} already")
    job = Job(plant, version.product, version.batch, folder.good, _order_of(params))
    now = job.params()
    for one in (params, now):
        for name in (SETTING, KEY):
            one["evaluate"].pop(name, None)
    changed = sorted(name for name in {*params, *now} if params.get(name) != now.get(name))
    if changed:
        raise PlantError(
            f"settings have changed since version {version.version} of {version.product} was made ({', '.join(changed)} of "
            f"params.yaml), so that more than its threshold and region would be new; order a changeover with 'changeover run'"
        )
    set_overkill(folder.path.parent / "product.yaml", overkill)
    return job


def region_changed(plant: Plant, version: Version) -> bool:
    """Whether the product has another region of interest by now than ``version`` was made with. PlantError where its settings are
    not on record."""
    then = EvaluateSettings.model_validate({KEY: _params_of(plant, version)["evaluate"].get(KEY)}).region.as_region()
    return then != region_of(plant, version.product).region


def same_threshold(version: Version, overkill: float) -> str:
    """What is said where ``overkill`` gives the threshold that ``version`` has: few images leave few thresholds."""
    return (
        f"version {version.version} of {version.product} stays as it is: for overkill {overkill:.4g} its calibration images "
        "give the threshold that it has; its report lists the others under 'Other thresholds', each with what it promises"
    )


def _params_of(plant: Plant, version: Version) -> dict[str, Any]:
    """``params.yaml`` as of the commit that made ``version``."""
    try:
        found = yaml.safe_load(file_at(plant.path, version.commit, version.product, version.batch, "params.yaml") or "")
        if isinstance(found["evaluate"], dict) and isinstance(found["train"], dict) and isinstance(found["tune"], dict):
            return dict(found)
    except (yaml.YAMLError, KeyError, TypeError):
        pass
    raise PlantError(
        f"the settings of version {version.version} of {version.product} are not at commit {version.commit[:10]} of this plant; "
        "order a changeover with 'changeover run'"
    )


def _order_of(params: dict[str, Any]) -> RunRequest:
    follows = float(params["tune"].get("seconds", 0.0)) + float(params["train"]["seconds"])
    seconds = float(params.get("budget", follows))
    preset = check_preset(str(params["preset"]))
    order = RunRequest(preset, None, int(params["seed"]), (params.get("set_up") or {}).get("warm_start"))
    return order if order.seconds == seconds else RunRequest(preset, seconds, order.seed, order.warm_start)


def set_overkill(source: Path, overkill: float) -> None:
    """Set it in a ``product.yaml``, which may be missing; every other line stays as it is."""
    write_setting(source, SETTING, float(f"{overkill:.6g}"), [f"{SETTING}: {overkill:.6g}"])
