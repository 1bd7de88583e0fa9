"""The two servers of a plant: MLflow (the registry) and Prefect (what happens when), in the background, on loopback."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from core.files import write_json
from flows.errors import ServerError
from flows.plant import Plant
from flows.serving.child_environment import UNWANTED, child_environment
from flows.serving.door import own_origins
from flows.serving.identity import PLANT_ID, PLANT_PATH, check_own, copied, identity_of, settled, started_here, works_for
from flows.serving.prefect_password import FOR_THE_SERVER, prefect_password
from flows.serving.processes import ProcessMark, end_group

NAMES = ("mlflow", "prefect")
HEALTH = {"mlflow": "/health", "prefect": "/api/health"}
START_SECONDS = 90.0

Log = Callable[[str], None]


@dataclass(frozen=True)
class Server:
    """A server as it is now: ``url`` and ``port`` are what was last used, or None if it never ran.

    ``here`` is False for one that was started where the plant lay before it was moved.
    """

    name: str
    port: int | None
    mark: ProcessMark | None
    log: Path
    here: bool = True

    @property
    def url(self) -> str | None:
        """Address for a browser, without a slash at the end."""
        return None if self.port is None else f"http://127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        """Whether the process that we started still runs."""
        return self.mark is not None and self.here and self.mark.alive()


def server_status(plant: Plant) -> dict[str, Server]:
    """Both servers by name, from the plant's records and the process table; nothing is asked over the network."""
    records = _read(plant)
    servers = {}
    for name in NAMES:
        record = records.get(name, {})
        mark = ProcessMark(record["pid"], record["started"]) if record.get("pid") else None
        if mark is not None and mark.alive() and not works_for(mark, plant):
            mark = None
        here = mark is None or not mark.alive() or started_here(mark, plant)
        servers[name] = Server(name, record.get("port"), mark, plant.logs / f"{name}.log", here)
    return servers


def address(plant: Plant, name: str) -> str:
    """The address of a running server; ServerError if it is not up, CopiedPlant where the plant is a copy."""
    check_own(plant)
    server = server_status(plant)[name]
    title = {"mlflow": "MLflow", "prefect": "Prefect"}[name]
    if not server.running or server.url is None:
        raise ServerError(f"the {title} server of {plant.path} is not up; start it with 'changeover up'")
    return server.url


def up(plant: Plant, log: Log = lambda line: None) -> dict[str, Server]:
    """Start what is not running, wait until both answer, and return them; ``log`` gets a line for what is waited for.

    Running it twice, or twice at once, starts nothing twice. ServerError with the last lines of the log if one does not
    answer within 90 seconds; that one is ended again. CopiedPlant where the plant is a copy.
    """
    check_own(plant)
    with servers_lock(plant):
        settled(plant)
        started = [name for name in NAMES if not server_status(plant)[name].running]
        if "mlflow" in started:
            from flows.serving.database import try_database  # with SQLAlchemy, almost half of what starting a command takes

            try_database(plant)
        for name in started:
            log(f"starting the {name} server")
            _start(plant, name)
        for name in NAMES:
            _wait(plant, name, log, name in started)
        return server_status(plant)


def down(plant: Plant, log: Log = lambda line: None) -> list[str]:
    """End the servers that ``up`` started, and only those; the names of those that ran. A copy of a plant has none."""
    ended: list[str] = []
    if text := copied(plant):
        log(f"{text}: the servers of the original are left alone")
        return ended
    with servers_lock(plant):
        for name, server in reversed(server_status(plant).items()):
            if server.mark is not None:
                log(f"stopping the {name} server")
                if end_group(server.mark):
                    ended.append(name)
                # With what was asked for: another port in the settings counts at the next start.
                _write(plant, name, {"port": server.port, "wanted": _read(plant).get(name, {}).get("wanted")})
    return ended


def free_port(wanted: int, hold: frozenset[int] = frozenset()) -> int:
    """``wanted``, or the next port above it that nothing listens on and that is not in ``hold``."""
    for port in range(wanted, min(wanted + 200, 65536)):
        if port not in hold and _is_free(port):
            return port
    raise ServerError(f"ports {wanted} to {wanted + 199} are all taken; set another one under 'servers' in changeover.yaml")


def _start(plant: Plant, name: str) -> None:
    records = _read(plant)
    # The port of last time goes first: addresses that were mailed around keep working.
    wanted = {"mlflow": plant.config.servers.mlflow_port, "prefect": plant.config.servers.prefect_port}[name]
    before = records.get(name, {})
    if last_mark := server_status(plant)[name].mark:  # it died, and children of it may still hold the port; or it was moved
        end_group(last_mark, patience=5.0)
    last = before.get("port") if before.get("wanted", wanted) == wanted else None
    others = frozenset(int(record["port"]) for other, record in records.items() if other != name and record.get("port"))
    # A process that was killed may hold its port for a moment more.
    patience = 3.0 if last_mark else 0.0
    port = last if last and _becomes_free(last, patience) else free_port(wanted, others)
    command, environment = _command(plant, name, port)
    environment |= {PLANT_ID: settled(plant).id, PLANT_PATH: str(plant.path)}
    log = plant.logs / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as stream:
        stream.write(f"\n--- {time.strftime('%Y-%m-%d %H:%M:%S')} start on port {port}\n".encode())
        stream.flush()
        child = subprocess.Popen(
            command,
            cwd=plant.state,  # also says for ever, whatever the folder is called then, whose server this is
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o077,  # databases and what lies beside them are this account's alone
        )
    child.returncode = 0  # it outlives us: without this, Popen warns that it is still running when it is collected
    mark = ProcessMark.of(child.pid)
    whose = {"plant": str(plant.path), "id": settled(plant).id}
    _write(plant, name, {"pid": mark.pid, "started": mark.started, "port": port, "wanted": wanted, **whose})


def _command(plant: Plant, name: str, port: int) -> tuple[list[str], dict[str, str]]:
    if name == "mlflow":
        from registry.server.app import server_command

        registry = plant.config.registry
        command, whole = server_command(
            plant.state / "mlflow",
            port,
            registry.database,
            registry.workers,
            limits=registry.limits.of_server(),
            trusted_proxy=registry.trusted_proxy,
            published=plant.publish,
            signature=plant.config.signature,
        )
        # Not added to ours: what it leaves out must not come back.
        return command, {name: value for name, value in whole.items() if name not in UNWANTED}
    home = _private(plant.state / "prefect")
    command = [sys.executable, "-m", "flows.serving.prefect_server", str(port)]
    return command, child_environment(
        {
            "PREFECT_HOME": str(home),
            "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home / 'prefect.db'}",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            FOR_THE_SERVER: prefect_password(plant),
            # Where its pages look for it.
            "PREFECT_SERVER_API_HOST": "127.0.0.1",
            "PREFECT_SERVER_API_PORT": str(port),
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(own_origins(port)),
            # An event starts its run when the scheduler next looks; the default of 5 and 20 seconds is felt at the line.
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "20",
        }
    )


def _private(folder: Path) -> Path:
    """``folder``, which only its owner may enter, with everything that an earlier version left readable in it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    for file in folder.glob("*.db*"):
        file.chmod(0o600)
    return folder


def _wait(plant: Plant, name: str, log: Log, started: bool) -> None:
    import httpx

    server = server_status(plant)[name]
    begin = time.monotonic()
    said = 0.0
    while True:
        waited = time.monotonic() - begin
        if not server.running and not started:  # it was dying when it was looked at
            log(f"starting the {name} server")
            _start(plant, name)
            server, started = server_status(plant)[name], True
            continue
        if not server.running:
            _write(plant, name, {"port": None})
            raise ServerError(f"the {name} server ended while starting: {_last_lines(server.log)}; the whole log is {server.log}")
        try:
            if httpx.get(f"{server.url}{HEALTH[name]}", timeout=2.0, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        if waited > START_SECONDS:
            if server.mark:
                end_group(server.mark)
            _write(plant, name, {"port": None})
            raise ServerError(
                f"the {name} server did not answer within {START_SECONDS:g} seconds: {_last_lines(server.log)}; "
                f"the whole log is {server.log}"
            )
        if waited - said >= 5:
            said = waited
            log(f"waiting for the {name} server, {waited:.0f} of at most {START_SECONDS:.0f} seconds")
        time.sleep(0.2)


def _last_lines(log: Path, count: int = 3) -> str:
    try:
        text = log.read_bytes()[-8000:].decode(errors="replace").rpartition("\n--- ")[2]
    except OSError:
        return "it wrote no log"
    lines = [line.strip() for line in text.splitlines()[1:] if line.strip()]
    return " | ".join(lines[-count:]) or "it wrote nothing"


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the servers do: a port whose last connections are still closing counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _becomes_free(port: int, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while not _is_free(port):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.1)
    return True


def servers_lock(plant: Plant) -> FileLock:
    """Held by who starts or ends servers of the plant."""
    plant.state.mkdir(exist_ok=True)
    return FileLock(plant.state / "servers.lock", timeout=3 * START_SECONDS)


def _read(plant: Plant) -> dict[str, dict[str, Any]]:
    """The records of this very plant's servers: a copy of its folder holds them too."""
    if copied(plant):
        return {}
    try:
        records = json.loads((plant.state / "servers.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(records, dict):
        return {}
    known, here = identity_of(plant), str(plant.path)
    # A record of before there were ids goes by its path.
    return {
        name: one
        for name, one in records.items()
        if isinstance(one, dict) and (known and one["id"] == known.id if "id" in one else one.get("plant", here) == here)
    }


def _write(plant: Plant, name: str, record: dict[str, Any]) -> None:
    write_json(plant.state / "servers.json", _read(plant) | {name: record})
