"""Computing time of the registry's start, until its page of health answers: user and system seconds of all its processes.

    PYTHONPATH=$PWD python benchmarks/registry_start.py [STARTS]

On SQLite, on a state that was made before; one start more, which makes it, is not counted.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from flows.serving.servers import free_port
from registry.server.app import server_command


def start(state: Path) -> float:
    """Start and end the server once; seconds of computing."""
    port = free_port(21000)
    command, environment = server_command(state, port)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with subprocess.Popen(command, env=environment, cwd=state, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        for _ in range(600):
            try:
                if httpx.get(f"http://127.0.0.1:{port}/health").is_success:
                    break
            except httpx.HTTPError:
                time.sleep(0.1)
        server.terminate()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    starts = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as folder:
        found = [start(Path(folder)) for _ in range(starts + 1)][1:]
    print(f"{sum(found) / len(found):.1f} s of computing a start, of {', '.join(f'{one:.1f}' for one in found)}")


if __name__ == "__main__":
    main()
