"""How a batch is called that nobody named: after the time that it was scheduled for."""

import datetime
from zoneinfo import ZoneInfo

from flows.cron_line import fires_at, fires_once_on, local_zone


def scheduled_batch(now: datetime.datetime, cron: str | None = None) -> str:
    """The name of the batch of a run that was scheduled for ``now``; no two runs give the same.

    The local date, such as 2026-11-21, if ``cron`` is None or fires at that time and at no other of the day. Else date and time,
    2026-11-21-1800; a run between two firings adds its seconds. ``""``: there is no cron line.
    """
    local = now.astimezone(ZoneInfo(local_zone()))
    name = local.date().isoformat()
    if cron is None:
        return name
    wall = local.replace(tzinfo=None, fold=0)
    planned = cron != "" and fires_at(cron, wall)
    if planned and fires_once_on(cron, wall.date()) and not local.fold:
        return name
    again = "-2" if local.fold else ""  # the hour that is there twice when summer time ends
    return f"{name}-{local:%H%M}{again}" if planned else f"{name}-{local:%H%M%S}{again}"
