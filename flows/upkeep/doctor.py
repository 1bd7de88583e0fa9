"""Is this machine, and this plant, fit for a changeover? What is wrong, and what to do about it."""

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from core.errors import ChangeoverError
from data.store import probe_store
from flows.errors import PlantError
from flows.plant import Plant
from flows.records import locked_heads
from flows.records.pointer import disagreement, pointed_at, products_on_the_line
from flows.serving.database import NoDatabase, try_database
from flows.serving.identity import FIX as ADOPT
from flows.serving.identity import copied
from flows.serving.locks import host_lock_file
from flows.serving.prefect_password import password_file, prefect_password
from flows.serving.serve_state import FIX, serve_state
from flows.serving.servers import Server, server_status
from flows.serving.services import connect_as, health
from flows.upkeep.backup import last_backup
from registry.client.connection import Connection
from registry.client.versions import champion
from registry.errors import RegistryError

TESTED = {"torch": "2.11", "mlflow": "3.17.2", "prefect": "3.8.8", "dvc": "3.67", "great-expectations": "1.24", "optuna": "5.0"}
"""Oldest versions that a changeover was made with; pyproject.toml says the same to the installer."""
LOW_DISK, LOW_MEMORY = 10e9, 4e9
BACKUP_DAYS = 7
"""After which another backup is asked for."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. ``fix`` is empty where all is well."""

    state: Literal["ok", "warning", "error"]
    what: str
    found: str
    fix: str = ""


def examine(place: Path | None = None) -> list[Finding]:
    """Look at everything; ``place`` is the plant, or None for the one around here. Nothing is changed, nothing raises."""
    findings = [*_python(), *_tools(), *_processor(), *_memory(), *_home()]
    try:
        plant = Plant.open(place) if place else Plant.find()
    except ChangeoverError as error:
        text, _, fix = str(error).partition("; ")
        return [*findings, *_disk(Path.cwd()), Finding("warning", "plant", text, fix)]
    findings += [*_disk(plant.path), *_identity(plant)]
    if findings[-1].state == "error":  # of a copy nothing is asked that would reach the original
        return findings
    return [
        *findings,
        *_backup(plant),
        *_database(plant),
        *_servers(plant),
        *_prefect_password(plant),
        *_serve(plant),
        *_storage(plant),
        *_inboxes(plant),
    ]


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    yield Finding(
        "ok" if good else "error", "python", version, "" if good else "install Python 3.11 or newer and run 'make setup'"
    )
    for name, oldest in TESTED.items():
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding("error", name, "missing", "run 'make setup'")
            continue
        good = _numbers(version) >= _numbers(oldest)
        yield Finding("ok" if good else "error", name, version, "" if good else f"needs {oldest} or newer; run 'make setup'")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.partition("+")[0].split(".")[:3] if part.isdigit())


def _tools() -> Iterator[Finding]:
    git = shutil.which("git")
    yield (
        Finding("ok", "git", git)
        if git
        else Finding("error", "git", "missing", "install git, for example with 'apt install git'")
    )


def _processor() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        import torch

        from models.training.number_format import fastest_on

        if torch.cuda.is_available():
            free, total = torch.cuda.mem_get_info()
            yield Finding("ok", "processor", f"{torch.cuda.get_device_name()}, {free / 1e9:.0f} of {total / 1e9:.0f} GB free")
        elif shutil.which("nvidia-smi"):
            fix = "install the driver that this torch needs; see https://pytorch.org/get-started/locally"
            yield Finding("warning", "processor", f"there is a GPU, but torch {torch.__version__} cannot use it", fix)
        else:
            abilities = f"{torch.backends.cpu.get_cpu_capability()}, trains in {fastest_on(torch.device('cpu'))}"
            words = f"{cores} cores ({abilities}), no GPU: preset standard takes its 6 minutes all the same"
            yield Finding("ok", "processor", words)
    except Exception as error:  # noqa: BLE001  # a broken torch raises anything from OSError to AttributeError
        yield Finding("error", "processor", f"torch does not load: {error}"[:200], "run 'make clean setup'")


def _memory() -> Iterator[Finding]:
    import psutil

    free = psutil.virtual_memory().available
    fix = "" if free >= LOW_MEMORY else "close other programs; training and the servers want 4 GB"
    yield Finding("ok" if not fix else "warning", "memory", f"{free / 1e9:.1f} GB free", fix)


def _home() -> Iterator[Finding]:
    try:
        yield Finding("ok", "cache folder", str(host_lock_file().parent))
    except PlantError as problem:
        found, _, fix = str(problem).rpartition("; ")
        yield Finding("error", "cache folder", found, fix)


def _disk(path: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(path).free
    fix = "" if free >= LOW_DISK else "free some space; a batch needs three times the size of its images"
    yield Finding("ok" if not fix else "warning", "disk", f"{free / 1e9:.0f} GB free at {path}", fix)


def _identity(plant: Plant) -> Iterator[Finding]:
    """Whether this is the plant itself, and no copy of one."""
    try:
        text, fix = copied(plant), ADOPT
    except ChangeoverError as problem:
        text, _, fix = str(problem).partition("; ")
    yield Finding("error", "plant", text, fix) if text else Finding("ok", "plant", str(plant.path))


def _backup(plant: Plant) -> Iterator[Finding]:
    last = last_backup(plant)
    if last is None:
        yield Finding("warning", "backup", "none was made", "make one with 'changeover backup FOLDER', on another disk")
        return
    age = (datetime.now(UTC) - last.made).days
    fix = "" if age < BACKUP_DAYS else "make another with 'changeover backup FOLDER'"
    yield Finding("warning" if fix else "ok", "backup", f"made {last.made:%Y-%m-%d %H:%M} UTC in {last.target}", fix)


def _database(plant: Plant) -> Iterator[Finding]:
    try:
        yield Finding("ok", "database", try_database(plant))
    except NoDatabase as problem:
        yield Finding("error", "database", problem.found, problem.fix)


def _servers(plant: Plant) -> Iterator[Finding]:
    for server in server_status(plant).values():
        if server.running:
            yield Finding("ok", f"{server.name} server", f"up at {server.url}")
        else:
            yield Finding("warning", f"{server.name} server", "down", "start it with 'changeover up'")


def _prefect_password(plant: Plant) -> Iterator[Finding]:
    file = password_file(plant)
    try:
        if file.exists():
            prefect_password(plant)
    except RegistryError as problem:
        yield Finding("error", "prefect password", str(problem), f"delete {file}, then 'changeover down' and 'changeover up'")
        return
    server = server_status(plant)["prefect"]
    if server.running and _lets_in(server):
        fix = "restart it with 'changeover down' and 'changeover up'"
        yield Finding("error", "prefect password", f"{server.url} answers without its password", fix)
    elif server.running:
        yield Finding("ok", "prefect password", str(file))


def _lets_in(server: Server) -> bool:
    """Whether Prefect answers somebody without a password, as one does that an earlier version started."""
    import httpx

    try:
        return httpx.get(f"{server.url}/api/admin/version", timeout=5.0, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _serve(plant: Plant) -> Iterator[Finding]:
    """Whether ``serve`` lives, and for each product whether the line reads the champion. Only the registry knows both."""
    if not server_status(plant)["mlflow"].running:
        return
    try:
        connection = connect_as(plant, "trainer")
        state = serve_state(health(plant, connection))
        yield Finding("ok" if state.lives else "warning", "serve", state.as_text(), "" if state.lives else FIX)
        for name in products_on_the_line(plant, plant.products()):
            yield _line_of(plant, connection, name)
    except RegistryError as problem:
        yield Finding("error", "registry", str(problem), "look into .changeover/logs/mlflow.log, then 'changeover down' and 'up'")
    except ChangeoverError as problem:
        yield Finding("error", "serve", str(problem), "see 'changeover status'")


def _line_of(plant: Plant, connection: Connection, name: str) -> Finding:
    now = champion(connection, name)
    parted = disagreement(plant, name, now.version if now else None)
    if parted:
        return Finding("error" if pointed_at(plant, name) is not None else "warning", f"line of {name}", *parted)
    return Finding("ok", f"line of {name}", f"reads version {now.version}" if now else "reads nothing: there is no champion")


def _storage(plant: Plant) -> Iterator[Finding]:
    """The store of images and models, and the bucket that keeps heads of the audit trail."""
    try:
        probed = probe_store(plant.path)
        yield Finding("ok", "storage", probed.place.removeprefix("storage "))
        if probed.left:
            fix = "where it shall keep what it has, that is well; else give the right to delete"
            yield Finding("warning", "storage", probed.left.partition("; ")[0], fix)
    except ChangeoverError as problem:
        yield Finding("error", "storage", *_parted(problem))
    if plant.config.audit.s3 is None:
        return
    try:
        yield Finding("ok", "audit bucket", locked_heads.check(plant.config.audit.s3))
    except ChangeoverError as problem:
        yield Finding("error", "audit bucket", *_parted(problem))


def _parted(problem: ChangeoverError) -> tuple[str, str]:
    """What is wrong, and the fix: the last part of every message."""
    what, _, fix = str(problem).rpartition("; ")
    return (what, fix) if what else (fix, "see docs/administrator.md")


def _inboxes(plant: Plant) -> Iterator[Finding]:
    for name, product in plant.config.products.items():
        if product.images:
            folder = plant.path / Path(product.images).expanduser()
            good = folder.is_dir()
            fix = "" if good else f"make that folder, or correct products.{name}.images in changeover.yaml"
            yield Finding("ok" if good else "error", f"images of {name}", str(folder) if good else f"{folder} is missing", fix)
