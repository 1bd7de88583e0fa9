"""The registry's server: MLflow with basic auth, behind our gate.

``server_command`` says how to start it: uvicorn with ``create_app``, as ``mlflow server`` starts it in the end, but without that
command's own process, which imports all of MLflow once more, waits, and doubles the time of a start. The state folder holds
``mlflow.db`` (with the audit trail), ``users.db``, ``artifacts/`` and ``secrets/``; with a PostgreSQL database, that holds the
contents of the first two.
"""

import ipaddress
import os
import sys
import uuid
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from filelock import FileLock

from registry.errors import RegistryError
from registry.names import ADMIN_USER
from registry.rules.rules import TAGS
from registry.secrets import prepare, private_file
from registry.server.inner_text import hide_parameters
from registry.server.limits import DEFAULT, HEAD_BYTES, VARIABLE, Limits, of_environment
from registry.server.roles import create_roles_and_services
from registry.trail.append_only import CONNECTIONS
from registry.trail.key import key_file

if TYPE_CHECKING:
    from flask import Flask

    from registry.server.authorisation import Authorisation
    from registry.server.log_ins import LogIns
    from registry.server.serving import Serving
    from registry.server.watch import Watch
    from registry.trail.events import Trail

STATE: Final = "CHANGEOVER_STATE"
PUBLISHED: Final = "CHANGEOVER_PUBLISHED"
SIGNATURE: Final = "CHANGEOVER_SIGNATURE"
LOOPBACK: Final = "127.0.0.1"
DATABASE: Final = "mlflow.db"
STORE: Final = "_MLFLOW_SERVER_FILE_STORE"
"""Environment variable of MLflow that holds the address of its database, without a password."""
MOST_WORKERS: Final = 32
START_SECONDS: Final = 120
CONNECT_SECONDS: Final = 10
SHUTDOWN_SECONDS: Final = 10
"""For requests under way when the server is told to end."""
# Longer, and a dismissed user could go on for that long on another worker; shorter, and every request pays for scrypt.
PASSWORD_CACHE_SECONDS: Final = 10

_USERS = """\
[mlflow]
default_permission = READ
database_uri = {database}
admin_username = {admin}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = {seconds}
"""


def server_command(
    state_dir: Path,
    port: int,
    database: str | None = None,
    workers: int = 1,
    limits: Limits = DEFAULT,
    trusted_proxy: str | None = None,
    published: Path | None = None,
    signature: str = TAGS,
) -> tuple[list[str], dict[str, str]]:
    """Arguments and whole environment of the registry's process, on the loopback address at ``port`` (1 to 65535).

    ``database`` is the SQLAlchemy address of a PostgreSQL database for everything but files; without it, SQLite files in
    ``state_dir`` are used. A password in it goes into the environment, which other users of the machine cannot read.
    ``trusted_proxy`` is the IP address of a proxy whose word on a client's address is taken; without it, nobody's is.
    ``published`` is the folder that the line reads, from which the server takes at once what is withdrawn; ``signature`` says
    how signatures are given: ``rules.TAGS`` or ``rules.STRICT``. Prepares ``state_dir`` (secrets and settings) but starts
    nothing. End the process with SIGTERM: it passes it on.
    """
    if not 1 <= port <= 65535:
        raise RegistryError(f"port {port} is none: choose one from 1 to 65535 that is free")
    if not 1 <= workers <= MOST_WORKERS:
        raise RegistryError(f"{workers} workers are out of range: choose 1 to {MOST_WORKERS}, such as one a processor core")
    state = state_dir.resolve()
    prepare(state)
    (state / "artifacts").mkdir(mode=0o700, exist_ok=True)
    store, password = (f"sqlite:///{state / DATABASE}", None) if database is None else _without_password(database)
    users = (f"sqlite:///{state / 'users.db'}" if database is None else store).replace("%", "%%")
    settings = _USERS.format(database=users, admin=ADMIN_USER, seconds=PASSWORD_CACHE_SECONDS)
    for name in ("users.ini", *((DATABASE, "users.db") if database is None else ())):
        private_file(state / name)  # before SQLite makes it: there is no moment in which others can read it
    (state / "users.ini").write_text(settings, encoding="utf-8")
    command = [sys.executable, "-m", "uvicorn", "--factory", "registry.server.app:create_app", "--workers", str(workers)]
    command += ["--host", LOOPBACK, "--port", str(port), *_uvicorn_options(trusted_proxy)]
    environment = _environment(state) | _for_mlflow(state, store) | {VARIABLE: limits.as_json(), SIGNATURE: signature}
    if published is not None:
        environment[PUBLISHED] = str(published.resolve())
    if database is not None:
        # For each of MLflow's three stores, and for the trail.
        environment["MLFLOW_SQLALCHEMYSTORE_POOL_SIZE"] = str(CONNECTIONS)
        environment["MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW"] = "0"
        environment.setdefault("PGCONNECT_TIMEOUT", str(CONNECT_SECONDS))  # a host that is silent is waited for no longer
    if password is not None:
        environment["PGPASSWORD"] = password
    return command, environment


def _for_mlflow(state: Path, store: str) -> dict[str, str]:
    """What ``mlflow server`` tells its workers (``mlflow.server.constants``, whose import takes seconds)."""
    return {
        STORE: store,
        "_MLFLOW_SERVER_REGISTRY_STORE": store,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": (state / "artifacts").as_uri(),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SERVER_BOOT_ID": uuid.uuid4().hex,
        "_MLFLOW_SGI_NAME": "uvicorn",
        "_MLFLOW_IN_JOB_EXECUTOR": "false",
        "MLFLOW_ENABLE_WORKSPACES": "false",
    }


def _uvicorn_options(trusted_proxy: str | None) -> list[str]:
    options = ["--log-config", str(_log_config())]
    options += ["--http", "registry.server.connections:Bounded", "--ws", "none"]
    options += ["--h11-max-incomplete-event-size", str(HEAD_BYTES)]
    options += ["--timeout-graceful-shutdown", str(SHUTDOWN_SECONDS)]
    if trusted_proxy is None:
        return [*options, "--no-proxy-headers"]
    try:
        address = ipaddress.ip_address(trusted_proxy)
    except ValueError as problem:
        raise RegistryError(f"trusted proxy {trusted_proxy!r} is no IP address; give one such as 127.0.0.1") from problem
    return [*options, "--proxy-headers", "--forwarded-allow-ips", str(address)]


def _log_config() -> Path:
    """How MLflow's server logs: with the time of each line. Found without its import, which takes seconds."""
    return Path(str(distribution("mlflow").locate_file("mlflow/server/uvicorn_log_config.yaml")))


def _without_password(database: str) -> tuple[str, str | None]:
    try:
        address = sa.make_url(database)
    except sa.exc.ArgumentError as problem:
        raise RegistryError("the address of the database is none; give it as postgresql://user@host/name") from problem
    if address.get_backend_name() != "postgresql":
        raise RegistryError(
            f"{address.get_backend_name()} cannot hold the registry: give postgresql://user@host/name, or nothing"
        )
    if "password" in address.query:
        raise RegistryError("the database's password is given as ?password=…; give it as postgresql://user:password@host/name")
    return address._replace(password=None).render_as_string(), None if address.password is None else str(address.password)


def _environment(state: Path) -> dict[str, str]:
    # A caller's own settings of MLflow (a tracking address, a user), uvicorn (each option) and ours (a password) must not leak
    # into the server.
    foreign = ("CHANGEOVER_", "MLFLOW_", "_MLFLOW_", "UVICORN_", "FORWARDED_ALLOW_IPS", "WEB_CONCURRENCY")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)  # without cached bytecode every start compiles all of MLflow
    return kept | {
        STATE: str(state),
        "MLFLOW_AUTH_CONFIG_PATH": str(state / "users.ini"),
        "MLFLOW_BASIC_AUTH_FAIL_CLOSED": "true",
        "MLFLOW_SERVER_ALLOWED_HOSTS": "localhost,localhost:*,127.0.0.1,127.0.0.1:*",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # 13 processes and 1.5 GB for what nobody here uses
        "MLFLOW_WEBHOOK_CACHE_TTL": "1",  # a receiver that was started again has another port
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",  # those who receive ours run on this machine
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }


def create_app() -> Any:
    """MLflow's application with users, roles, the gate, the trail and our own pages; uvicorn calls it in each worker.

    Raises ``RegistryError`` where the environment is not the one that ``server_command`` gives.
    """
    state = Path(os.environ.get(STATE, ""))
    if not os.environ.get(STATE) or not state.is_dir():
        raise RegistryError(f"{STATE} is {str(state)!r} and no folder: start it with registry.server.app.server_command")
    os.umask(0o077)  # what this process writes is its account's alone, if it does not say otherwise
    secrets = prepare(state)
    hide_parameters()
    os.environ["MLFLOW_FLASK_SERVER_SECRET_KEY"] = secrets.session_key
    os.environ["MLFLOW_AUTH_ADMIN_PASSWORD"] = secrets.admin  # read once, when mlflow.server.auth is imported
    os.environ["MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY"] = secrets.webhook_store  # likewise

    from fastapi import FastAPI
    from mlflow.server import app as flask_app
    from mlflow.server import auth
    from mlflow.server.handlers import _get_model_registry_store, _get_tracking_store, initialize_backend_stores

    from registry.server.artifact_gate import ArtifactGate
    from registry.server.authorisation import Authorisation
    from registry.server.flask_errors import install_errors
    from registry.server.front import Front
    from registry.server.log_ins import LogIns
    from registry.server.serving import Serving
    from registry.server.strangers import Strangers
    from registry.server.watch import see_to_everything_at_start
    from registry.trail.events import Trail
    from registry.trail.transaction import Transactions

    # The workers of a first start would create the same tables, users and roles at once.
    with FileLock(state / "start.lock", timeout=START_SECONDS):
        initialize_backend_stores()
        app = auth.create_app(flask_app)
        if not isinstance(app, FastAPI):
            raise RegistryError(
                "the registry runs under uvicorn only: its artifact gate is ASGI; start with registry.server.app.server_command"
            )
        create_roles_and_services(secrets)
        trail = Trail(os.environ[STORE], key_file(state))
        trail.prepare()
    trail.problem()  # the first proof of a long trail takes a second or two: better now than under the gate's lock
    limits = of_environment()
    log_ins = LogIns(auth.store, lambda user, password: auth._authenticate_cached(user, password) is not None)
    published = Path(os.environ[PUBLISHED]) if os.environ.get(PUBLISHED) else None
    users = state / "users.db"  # in PostgreSQL everything lies in one database
    transactions = Transactions(trail, users if trail.engine.dialect.name == "sqlite" else None)
    for store in (_get_tracking_store(), _get_model_registry_store(), auth.store):
        transactions.join(store)
    gate = Authorisation(trail, transactions, state, published, os.environ.get(SIGNATURE, TAGS))
    gate.install(flask_app)
    watch = _add_own_pages(flask_app, trail, gate, log_ins, Serving(state))
    # Last, so that its hook runs first of all that see an answer, and the front is outside of all.
    install_errors(flask_app)
    app.add_middleware(ArtifactGate, trail=trail, lock=gate.lock, files=gate.files)
    app.add_middleware(
        Front,
        trail=trail,
        strangers=Strangers(trail),
        log_ins=log_ins,
        limits=limits,
        is_open=auth.is_unprotected_route,
    )
    see_to_everything_at_start(flask_app, watch)
    return app


def _add_own_pages(app: "Flask", trail: "Trail", gate: "Authorisation", log_ins: "LogIns", serving: "Serving") -> "Watch":
    """Every address of ours."""
    from registry.server.endpoints import add_endpoints
    from registry.server.people_pages import PeoplePages
    from registry.server.promotions import Promotions
    from registry.server.review import ReviewPage
    from registry.server.roll_back import RollBacks
    from registry.server.signing import Signing
    from registry.server.watch import Watch

    add_endpoints(app, trail, serving)
    RollBacks(trail, gate).install(app)
    Promotions(trail, gate).install(app)
    watch = Watch(trail, gate, serving)
    watch.install(app)
    signing = Signing(trail, gate, log_ins)
    signing.install(app)
    ReviewPage(trail, gate, signing, serving).install(app)
    PeoplePages(trail, gate).install(app)
    return watch
