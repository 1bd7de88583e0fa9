"""How long a sign-off takes with many events on the trail, and how long each other step of its way.

    python -m benchmarks.sign_off [--events 100000] [--times 10]

A real registry on loopback with SQLite. The events are written past it, rightly chained and sealed, before it starts. Seconds.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.trail import fill
from registry.client.promote import promote
from registry.client.sign_off import sign_off, status
from registry.client.versions import register
from registry.secrets import prepare
from registry.trail.events import Trail
from registry.trail.key import key_file
from tests.registry.conftest import request_for, running


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--events", type=int, default=100_000)
    arguments.add_argument("--times", type=int, default=10)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state"
        prepare(state)
        with running(state) as registry:
            pass  # makes the tables
        trail = Trail(f"sqlite:///{registry.database}", key_file(state))
        fill(trail, options.events, after=trail.head())
        trail.close()
        begin = time.perf_counter()
        with running(state, people=False) as registry:
            print(f"start with {options.events} events: {time.perf_counter() - begin:.2f}")
            taken: dict[str, list[float]] = {"approve": [], "promote": [], "status": [], "withdraw": [], "review page": []}
            register(registry.trainer, request_for(Path(folder), "bolt", "a"))
            page = f"{registry.url}/changeover/review?product=bolt&version=1"
            for number in range(options.times):
                for name, action in (
                    ("approve", lambda: sign_off(registry.ana, "bolt", "1", "approved", f"time {number}")),  # noqa: B023
                    ("status", lambda: status(registry.vic, "bolt", "1")),
                    ("review page", lambda: registry.http.get(page, auth=(registry.ana.user, registry.ana.password))),
                    ("promote", lambda: promote(registry.promoter, "bolt")),
                    ("withdraw", lambda: sign_off(registry.ana, "bolt", "1", "pending", f"time {number}")),  # noqa: B023
                ):
                    begin = time.perf_counter()
                    action()
                    taken[name].append(time.perf_counter() - begin)
            for name, seconds in taken.items():
                print(f"{name}: median {statistics.median(seconds):.3f}, largest {max(seconds):.3f}")


if __name__ == "__main__":
    main()
