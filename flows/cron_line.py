"""A cron line: whether it is one, when it fires, and by which clock. Prefect's own rules decide, since Prefect carries it out."""

import importlib.util
import re
import sys
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib.metadata import distribution
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from flows.errors import PlantError

EXAMPLE = "'0 6 * * 1' is Mondays at six"
_RANDOM = re.compile(r"(?i)(?<![a-z])[rh](?![a-z])")


def check_cron(cron: str) -> str:
    """``cron`` if it has five fields and fires; ValueError says what is wrong with it."""
    shown = repr(cron if len(cron) <= 60 else f"{cron[:60]}…")
    if len(cron.split()) != 5:
        raise ValueError(f"cron {shown} has {len(cron.split())} fields, but needs 5: {EXAMPLE}")
    if _RANDOM.search(cron):
        raise ValueError(f"cron {shown} fires at random, which Prefect cannot; name the times: {EXAMPLE}")
    rules = _rules()
    try:
        rules.croniter(cron, datetime(2026, 1, 1)).get_next(datetime)
    except rules.CroniterBadDateError as error:
        raise ValueError(f"cron {shown} never fires: no such day is in the calendar; {EXAMPLE}") from error
    except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
        reason = str(error).rpartition("] ")[2][:120] or type(error).__name__
        raise ValueError(f"cron {shown} does not parse ({reason}); {EXAMPLE}") from error
    return cron


def fires_at(cron: str, moment: datetime) -> bool:
    """Whether ``cron`` fires at ``moment``, by the clock on the wall, without a zone."""
    return bool(_after(cron, moment - timedelta(seconds=1)) == moment)


def fires_once_on(cron: str, day: date) -> bool:
    """Whether ``cron`` fires once on ``day`` and not again."""
    first = _after(cron, datetime(day.year, day.month, day.day) - timedelta(seconds=1))
    return bool(first.date() == day and _after(cron, first).date() != day)


def _after(cron: str, moment: datetime) -> datetime:
    """The first time after ``moment`` at which ``cron`` fires."""
    following: datetime = _rules().croniter(cron, moment).get_next(datetime)
    return following


def local_zone() -> str:
    """The name of the zone whose clock this process shows, such as Europe/Berlin; cron lines and names of batches go by it.

    ``TZ`` may hold a rule (``CET-1CEST,M3.5.0,M10.5.0/3``), which Prefect does not know: then it is a zone with the same clock.
    PlantError where there is none.
    """
    from tzlocal import get_localzone_name  # comes with great-expectations

    clock = _clock()
    try:
        named: list[str] = [get_localzone_name()]
    except (ValueError, LookupError, OSError):
        named = []
    zones = available_timezones()
    for name in [*(name for name in named if name in zones), *sorted(name for name in zones if "/" in name)]:
        zone = ZoneInfo(name)
        if all(datetime.fromtimestamp(moment, zone).utcoffset() == offset for moment, offset in clock):
            return name
    raise PlantError(
        f"no zone has the clock of this machine, now {datetime.now().astimezone():%H:%M UTC%z}; set TZ to a zone's name, such as "
        "Europe/Berlin"
    )


def _clock() -> Sequence[tuple[int, timedelta]]:
    """Moments of the next two years, and how far local time is from UTC there; more of them where that changes."""

    def offset(moment: int) -> timedelta:
        return timedelta(seconds=time.localtime(moment).tm_gmtoff)

    quarter, day = 15 * 60, 24 * 60 * 60
    begin = int(datetime.now(UTC).timestamp()) // quarter * quarter
    days = [(begin + n * day, offset(begin + n * day)) for n in range(2 * 366)]
    changes = [start for (start, before), (_, after) in pairwise(days) if before != after]
    return [*days, *((moment, offset(moment)) for start in changes for moment in range(start, start + day, quarter))]


@cache
def _rules() -> Any:
    """Prefect's copy of croniter, without the seconds that an import of Prefect takes: settings are read by every command."""
    place = Path(str(distribution("prefect").locate_file("prefect/_vendor/croniter")))
    spec = importlib.util.spec_from_file_location(
        "croniter_of_prefect", place / "__init__.py", submodule_search_locations=[str(place)]
    )
    if spec is None or spec.loader is None:
        raise PlantError(f"{place} is not there, by which Prefect reads cron lines; install Changeover again")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
