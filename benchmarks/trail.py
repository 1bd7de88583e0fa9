"""How long the audit trail takes to be proven, written to and asked, with many events on it.

    python -m benchmarks.trail [--events 100000] [--database postgresql://user@host/name]

The events are written past the registry, rightly chained and sealed, into a database in a temporary folder (or into the one
given, which has to be empty). Times in seconds, the best of three where the same can be done again.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from registry.trail.append_only import kind_of, writing
from registry.trail.audit import problems_of
from registry.trail.entries import GENESIS, Entry, digest_of, row_of_event
from registry.trail.events import TABLE, Event, Trail

BATCH = 5000


def fill(trail: Trail, events: int, after: tuple[int, str] = (0, GENESIS)) -> None:
    """Writes ``events`` events as a plant has them, behind the head ``after``: registrations, sign-offs and aliases of 50
    products."""
    assert trail.key is not None  # noqa: S101 - prepare made it
    (there, previous), begin, rows = after, datetime.now(UTC), []
    for seq in range(there + 1, there + events + 1):
        number = str(seq // 500 + 1)
        action, subject, after = (("register", "", ""), ("tag.set", "qa", "approved"), ("alias.set", "champion", number))[seq % 3]
        entry = Entry(
            actor=("trainer", "ana", "promoter")[seq % 3],
            action=action,
            product=f"bolt-m{seq % 50}",
            version=number,
            digest=f"{seq % 1000:064x}",
            subject=subject,
            after=after,
            address="127.0.0.1",
            allowed=seq % 7 != 0,
            reason="looked at every picture of the report, and at the parts themselves",
            time=begin + timedelta(microseconds=seq),
        )
        digest = digest_of(entry, seq, previous)
        event = Event(**entry.model_dump(), seq=seq, previous=previous, hash=digest, mac=trail.key.mac(seq, digest))
        rows.append(row_of_event(event))
        previous = digest
        if len(rows) == BATCH or seq == there + events:
            with writing(kind_of(trail.engine.url), trail.engine) as connection:
                connection.execute(sa.insert(TABLE), rows)
            rows.clear()


def seconds(work: Callable[[], object], times: int = 3) -> float:
    """The shortest of ``times`` runs of ``work``."""
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return min(taken)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--events", type=int, default=100_000)
    arguments.add_argument("--database")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        address = options.database or f"sqlite:///{folder}/mlflow.db"
        trail = Trail(address, Path(folder) / "trail-key")
        trail.prepare()
        fill(trail, options.events)
        entry = Entry(actor="ana", action="tag.set", product="bolt-m1", version="1", subject="qa", after="approved", allowed=True)
        figures = {
            "full verification": seconds(lambda: problems_of(trail)),
            "problem(), the first time": seconds(trail.problem, times=1),
            "problem(), again": seconds(trail.problem),
            "append": seconds(lambda: trail.append(entry), times=20),
            "problem(), after 20 appends": seconds(trail.problem, times=1),
            "recheck(5000)": seconds(lambda: trail.recheck(5000)),
            "find, the last decision of a version": seconds(lambda: trail.last_decision("bolt-m1", "7")),
            "find, the rejections of a digest": seconds(lambda: trail.find(digest=f"{7:064x}", after_value="rejected")),
            "find, the newest registration": seconds(
                lambda: trail.find(product="bolt-m1", actions=("register",), newest_first=True, at_most=1)
            ),
            "find, one subject": seconds(lambda: trail.find(actions=("run.delete",), subject="of nobody")),
            "aliases of a product": seconds(lambda: trail.aliases("bolt-m1")),
        }
        assert trail.problem() is None  # noqa: S101 - else the figures mean nothing
        trail.close()
    print(f"{options.events} events, {address.partition(':')[0]}")
    for name, taken in figures.items():
        print(f"{taken:9.4f} s  {name}")


if __name__ == "__main__":
    main()
